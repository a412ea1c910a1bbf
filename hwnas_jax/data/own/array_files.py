"""Arrays from a `.npz` file, or from a folder of `.npy` files."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.own.inputs import Layout
from hwnas_jax.data.own.medmnist import medmnist_names
from hwnas_jax.data.own.parts import Raw, make_dataset
from hwnas_jax.data.own.roles import Role, choose_subset, role_of
from hwnas_jax.data.own.source import FileSource, entries
from hwnas_jax.data.stored import is_stored, load_stored
from hwnas_jax.errors import UserError
from hwnas_jax.files.npy import (
    Declared,
    declared_array,
    declared_arrays,
    read_array,
    read_arrays,
)

_ZIP = b"PK"
_NAMES = (
    "train_images and train_labels, x_train and y_train, inputs and targets, and the same with "
    "test or val"
)


class _Found(NamedTuple):
    name: str
    role: Role
    declared: Declared


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class ArrayFiles(FileSource):
    """Arrays whose names say what they are: `train_images`, `y_test`, `labels`, `class_names`.

    A name has a word for inputs or targets (`images`, `x`, `data`; `labels`, `y`, `targets`),
    perhaps one for the part (`train`, `val`, `test`), and the name of a set where a file holds
    several. Inputs and targets may have any type of numbers; targets may be texts, too. Arrays are
    looked at by their headers first, and nothing is ever unpickled. The names of the classes of
    MedMNIST are known.
    """

    name = "arrays"
    summary = "arrays of a .npz file or a folder of .npy files; needs data.path"
    fits = "a .npz file, or a folder of .npy files"

    layout: Layout | None = None
    """what the axes of the inputs mean, a letter each: N examples, H height, W width, C channels,
    L length of a sequence; asked for where type and sizes leave a doubt"""
    subset: str | None = None
    """which set to read, where the names speak of several"""

    @classmethod
    def holds(cls, path: Path) -> bool:
        """Returns whether it is a zip file called `.npz`, or a folder with `.npy` files."""
        if path.is_dir():
            return any(entry.suffix == ".npy" for entry in entries(path))
        if path.suffix != ".npz" or not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(2) == _ZIP

    def read(self, path: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        declared, read = self._opened(path)
        if is_stored(declared):
            self.check_fits(sum(array.nbytes for array in declared.values()), str(path))
            return load_stored(path)
        chosen, notes = self._chosen(declared, path)
        used = [found for found in chosen if found.role.kind != "names"]
        self.check_fits(sum(found.declared.nbytes for found in used), str(path))
        arrays = read([found.name for found in chosen])
        names = next((arrays[f.name] for f in chosen if f.role.kind == "names"), None)
        if names is not None and (names.ndim != 1 or names.dtype.kind not in "US"):
            raise UserError(f"{path}: the names of classes must be a list of texts")
        by_part: dict[str, dict[str, np.ndarray]] = {}
        for found in used:
            by_part.setdefault(found.role.part or "train", {})[found.role.kind] = arrays[found.name]
        parts = {part: Raw(kinds["inputs"], kinds["targets"]) for part, kinds in by_part.items()}
        meaning = dataclasses.replace(
            self.meaning, layout=self.layout,
            names=medmnist_names(path, declared) if names is None else names.astype(str).tolist(),
        )  # fmt: skip
        return make_dataset(self.called(path), parts, meaning, where=str(path), notes=notes)

    def _opened(
        self, path: Path
    ) -> tuple[dict[str, Declared], Callable[[list[str]], Mapping[str, np.ndarray]]]:
        """Returns what the arrays say of themselves, and a function that reads some of them."""
        if path.is_file() and path.suffix == ".npz":
            return declared_arrays(path), lambda names: read_arrays(path, names)
        if path.is_file():
            raise UserError(f"{path} is not {self.fits}")
        files = {entry.stem: entry for entry in entries(path) if entry.suffix == ".npy"}
        if not files:
            raise UserError(f"{path} holds no .npy files")
        declared = {name: declared_array(file) for name, file in files.items()}
        return declared, lambda names: {name: read_array(files[name]) for name in names}

    def _chosen(
        self, declared: Mapping[str, Declared], path: Path
    ) -> tuple[list[_Found], list[str]]:
        """Returns the arrays of one set, inputs and targets of each part, and notes."""
        roles = {name: role_of(name) for name in declared}
        known = [_Found(n, role, declared[n]) for n, role in roles.items() if role is not None]
        shown = ", ".join(f"{name} {array}" for name, array in declared.items()) or "nothing"
        if not any(found.role.kind == "inputs" for found in known):
            raise UserError(f"{path} holds {shown}; understood are names such as {_NAMES}")
        pairs = [found.role.subset for found in known if found.role.kind == "inputs"]
        subset = choose_subset(pairs, self.subset, str(path))
        chosen: dict[tuple[str, str], _Found] = {}
        for found in known:
            shared = found.role.kind == "names" and not found.role.subset
            if found.role.subset != subset and not shared:
                continue
            key = found.role.part or "train", found.role.kind
            if key in chosen:
                raise UserError(
                    f"{path}: both {chosen[key].name} and {found.name} are {found.role.kind} of "
                    f"the {key[0]} part; remove one"
                )
            chosen[key] = found
        for part in {part for part, kind in chosen if kind != "names"}:
            for kind in ("inputs", "targets"):
                if (part, kind) not in chosen:
                    raise UserError(f"{path} has no {part} {kind}; it holds {shown}")
        left = [name for name, role in roles.items() if role is None]
        notes = [f"not read, since their names say nothing: {', '.join(left)}"] if left else []
        return list(chosen.values()), notes
