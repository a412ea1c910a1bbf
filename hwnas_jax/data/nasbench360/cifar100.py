"""CIFAR-100 as its authors publish it, `cifar-100-python`."""

import dataclasses
from pathlib import Path

import numpy as np

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.nasbench360.published import Published, checked, member, opened
from hwnas_jax.errors import UserError
from hwnas_jax.files.pickles import load_pickle


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Nb360Cifar100(Published):
    """Photographs `uint8[N, 32, 32, 3]` in 100 classes, whose names are in the file `meta`.

    References: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    name = "nb360_cifar100"
    summary = "CIFAR-100 from the pickles train and test; needs data.path"
    task360 = "cifar100"

    def read_folder(self, folder: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        train, test = (self._part(folder / part) for part in ("train", "test"))
        names = tuple(str(number) for number in range(100))
        meta = folder / "meta"
        if meta.is_file():
            given = member(opened(load_pickle, meta), "fine_label_names", str(meta))
            if not isinstance(given, list) or len(set(map(str, given))) != len(names):
                raise UserError(f"{meta}: fine_label_names must be 100 different texts")
            names = tuple(map(str, given))
        return dataclasses.replace(self.dataset(train, test, names), movable=True)

    def _part(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        content = opened(load_pickle, path)
        flat = checked(member(content, "data", str(path)), 2, f"{path}: data", (3072,))
        labels = member(content, "fine_labels", str(path))
        images = flat.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)[: self.examples]
        classes = self.classes(labels, 100, f"{path}: fine_labels")[: self.examples]
        return np.ascontiguousarray(images, np.uint8), classes
