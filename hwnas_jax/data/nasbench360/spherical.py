"""CIFAR-100 on a sphere, as NAS-Bench-360 publishes it."""

import dataclasses
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.nasbench360.published import Published, checked, member, opened
from hwnas_jax.files.pickles import load_pickle


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Nb360Spherical(Published):
    """Images `uint8[N, 60, 60, 3]` of a sphere in 100 classes.

    The file is a compressed pickle: for "train" and "test" a dictionary of `images`, channels
    first, and `labels`.
    """

    name = "nb360_spherical"
    summary = "CIFAR-100 on a sphere from s2_cifar100.gz; needs data.path"
    task360 = "spherical"

    def read_folder(self, folder: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        path = folder / self.about.files[0]
        self.check_fits(2 * _unpacked_bytes(path), str(path))
        content = opened(load_pickle, path)
        train, test = (self._part(content, part, str(path)) for part in ("train", "test"))
        return self.dataset(train, test, tuple(str(number) for number in range(100)))

    def _part(self, content: Any, part: str, path: str) -> tuple[np.ndarray, np.ndarray]:
        where = f"{path}: {part}"
        held = member(content, part, path)
        images = checked(member(held, "images", where), 4, f"{where} images", (3, None, None))
        labels = member(held, "labels", where)
        classes = self.classes(labels, 100, f"{where} labels")[: self.examples]
        turned = images[: self.examples].transpose(0, 2, 3, 1)
        kind = np.uint8 if images.dtype == np.uint8 else np.float32
        return np.ascontiguousarray(turned, kind), classes


def _unpacked_bytes(path: Path) -> int:
    """Returns the size that the end of a gzip file tells, modulo 4 GiB."""
    if path.stat().st_size < 4:
        return 0
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        return struct.unpack("<I", file.read(4))[0]
