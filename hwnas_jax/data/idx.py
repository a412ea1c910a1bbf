"""Reads a folder of the idx files that MNIST and similar sets are published in.

Legend: `N` images, `H, W, C` image height, width, channels.
"""

import dataclasses
import re
from pathlib import Path
from typing import NamedTuple

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.own.idx_file import read_header, read_idx
from hwnas_jax.data.own.inputs import Layout
from hwnas_jax.data.own.parts import Raw, make_dataset
from hwnas_jax.data.own.roles import Role, choose_subset, role_of
from hwnas_jax.data.own.source import FileSource, entries, listed
from hwnas_jax.errors import UserError

_NAME = re.compile(
    r"(?P<stem>.+?)[-._]idx(?P<rank>\d)(?:[-._](?:u?byte|u?int\d*|short|long|float|double))?"
    r"(?P<gz>\.gz)?"
)
_WITH_MORE_COLUMNS = "qmnist"
"""Labels of this set have the class in their first column, and who wrote it in the others."""


class _File(NamedTuple):
    path: Path
    role: Role


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Idx(FileSource):
    """The idx files of a folder, named as those of MNIST are: `train-images-idx3-ubyte`.

    A name has `images` or `labels`, and `train`, `t10k`, `test` or `val`; Fashion-MNIST, KMNIST,
    EMNIST (`emnist-letters-train-images-idx3-ubyte.gz`) and QMNIST keep to this. Files may be
    gzipped, and of any type that idx knows. Images have the dimensions `[N, H, W]` or
    `[N, H, W, C]`.
    """

    name = "idx"
    summary = "a folder of MNIST-style idx files, gzipped or not; needs data.path"
    fits = "a folder of idx files such as train-images-idx3-ubyte.gz"

    subset: str | None = None
    """which set to read, where the names speak of several: emnist-letters"""

    @classmethod
    def holds(cls, path: Path) -> bool:
        """Returns whether it is a folder with files of such names."""
        return path.is_dir() and bool(_files(path))

    def read(self, path: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        if not path.is_dir():
            raise UserError(f"no folder {path} to read idx files from")
        files = _files(path)
        if not files:
            raise UserError(
                f"no train-images-idx3-ubyte or train-images-idx3-ubyte.gz in {path}; it holds "
                f"{listed(entries(path))}"
            )
        subset = choose_subset([file.role.subset for file in files], self.subset, str(path))
        chosen: dict[tuple[str, str], Path] = {}
        for file in files:
            if file.role.subset == subset:
                # In order of names a plain file comes before the same one gzipped.
                chosen.setdefault((file.role.part or "train", file.role.kind), file.path)
        parts = dict.fromkeys(["train", *(part for part, _ in chosen)])
        for part in parts:
            for kind, given in (("inputs", "images-idx3"), ("targets", "labels-idx1")):
                if (part, kind) not in chosen:
                    stem = f"{'t10k' if part == 'test' else part}-{given}-ubyte"
                    raise UserError(
                        f"no {stem} or {stem}.gz in {path}; it holds {listed(entries(path))}"
                    )
        self.check_fits(sum(read_header(p).nbytes for p in chosen.values()), f"what {path} holds")
        raw = {
            part: _pair(chosen[part, "inputs"], chosen[part, "targets"], subset) for part in parts
        }
        layout: Layout = "NHW" if raw["train"].inputs.ndim == 3 else "NHWC"
        meaning = dataclasses.replace(self.meaning, layout=layout)
        return make_dataset(subset or self.name, raw, meaning, where=str(path))


def _pair(image_path: Path, label_path: Path, subset: str) -> Raw:
    images, labels = read_idx(image_path), read_idx(label_path)
    if images.ndim not in (3, 4):
        raise UserError(f"{image_path} must have dimensions N, H, W or N, H, W, C: {images.shape}")
    if labels.ndim not in (1, 2):
        raise UserError(f"{label_path} must have one dimension, N, or two: {labels.shape}")
    if len(images) != len(labels):
        raise UserError(
            f"{image_path} has {len(images)} images but {label_path} has {len(labels)} labels"
        )
    if labels.ndim == 2 and subset.startswith(_WITH_MORE_COLUMNS):
        labels = labels[:, 0]
    return Raw(images, labels)


def _files(folder: Path) -> list[_File]:
    """Returns the files of a folder that have the name of an idx file, in order of their names."""
    found = []
    for entry in entries(folder):
        match = _NAME.fullmatch(entry.name)
        role = role_of(match["stem"]) if match else None
        if role is not None and role.kind != "names" and entry.is_file():
            found.append(_File(entry, role))
    return found
