"""A data set as one `.npz` file, read back bit for bit."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.together import TargetPart
from hwnas_jax.errors import UserError, shown
from hwnas_jax.files.npy import Declared, read_arrays
from hwnas_jax.files.npz import Array, write_npz
from hwnas_jax.files.typed import parse_dataclass

_FORMAT = "hwnas_jax.dataset"
_ARRAYS = ("train_inputs", "train_targets", "test_inputs", "test_targets")
_TEXTS = {
    "name": Array("text", ()), "task": Array("text", ()), "output_names": Array("text", ("O",)),
    "notes": Array("text", ("N",)),
}  # fmt: skip
_KEYS = ("format", *_ARRAYS, *_TEXTS, "movable", "parts")


def save_dataset(dataset: Dataset, path: Path) -> None:
    """Writes a data set whole or not at all; nothing is compressed."""
    arrays = {key: getattr(dataset, key) for key in _ARRAYS}
    texts = {key: np.array(getattr(dataset, key), dtype=str) for key in _TEXTS}
    parts = [json.dumps(dataclasses.asdict(part)) for part in dataset.parts]
    flags = {
        "format": np.array(_FORMAT), "movable": np.array(dataset.movable),
        "parts": np.array(parts, dtype=str),
    }  # fmt: skip
    write_npz(path, {**flags, **arrays, **texts}, compressed=False)


def is_stored(declared: Mapping[str, Declared]) -> bool:
    """Returns whether the arrays of a file are those of `save_dataset`."""
    return set(_KEYS) == declared.keys()


def load_stored(path: Path) -> Dataset:
    """Returns what `save_dataset` wrote.

    Raises:
      UserError: when the file is damaged, or of another format.
    """
    arrays = read_arrays(path, list(_KEYS))
    others = {"movable": Array("bool", ()), "parts": Array("text", ("P",))}
    for key, text in {**_TEXTS, **others}.items():
        try:
            text.check_declared(key, arrays[key].dtype, arrays[key].shape, {})
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    if arrays["format"].shape or str(arrays["format"]) != _FORMAT:
        raise UserError(f"{path} is no data set of this package: its format is not {_FORMAT!r}")
    found = Dataset(
        name=str(arrays["name"]), task=str(arrays["task"]),
        output_names=tuple(map(str, arrays["output_names"])),
        notes=tuple(map(str, arrays["notes"])), movable=bool(arrays["movable"]),
        parts=tuple(
            parse_dataclass(TargetPart, str(text), f"{path}: parts") for text in arrays["parts"]
        ),
        **{key: arrays[key] for key in _ARRAYS},
    )  # fmt: skip
    for key in ("train_targets", "test_targets") if found.task == "classification" else ():
        targets = arrays[key]
        fine = targets.dtype.kind in "iu"
        if not (fine and ((targets >= 0) & (targets < found.num_outputs)).all()):
            raise UserError(f"{path}: {key} must be numbers of its {found.num_outputs} classes")
    if found.parts or found.task == "several":
        _check_parts(found, path)
    return found


def _check_parts(dataset: Dataset, path: Path) -> None:
    """Refuses targets that are not those of the tasks which stand beside them."""
    names = [part.name for part in dataset.parts]
    if dataset.task != "several" or len(set(names)) < max(2, len(names)):
        raise UserError(
            f"{path}: parts are {', '.join(map(shown, names))}, and the task is "
            f"{shown(dataset.task)}; several tasks have a part each, with different names"
        )
    total = sum(part.size for part in dataset.parts)
    for key in ("train_targets", "test_targets"):
        targets = getattr(dataset, key)
        if targets.dtype != np.float32 or targets.shape[1:] != (total,):
            raise UserError(
                f"{path}: {key} must be float32[N, {total}], as its parts say, and are "
                f"{targets.dtype}{list(targets.shape)}"
            )
        first = 0
        for part in dataset.parts:
            columns = targets[:, first : first + part.size]
            first += part.size
            with np.errstate(invalid="ignore", over="ignore"):
                same = np.array_equal(columns.astype(part.dtype), columns)
            if not same:
                raise UserError(f"{path}: {key} of {shown(part.name)} must be {part.dtype}")
