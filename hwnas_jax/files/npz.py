"""`.npz` files of plain arrays: written whole or not at all, read so that nothing can run."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.errors import UserError


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a file by name; nothing is unpickled.

    Raises:
      UserError: when the file cannot be read; does not name it.
    """
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array without a name")
        with file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds for damaged files
        raise UserError(f"it is damaged, or no .npz file: {error}") from error


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes plain arrays beside `path`, compressed, then renames the file into place.

    Args:
      path: the file; one that is there is replaced.
      arrays: by name; none may hold Python objects.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def numbers(arrays: Mapping[str, np.ndarray], name: str, rank: int) -> np.ndarray:
    """Returns the array called `name`.

    Raises:
      UserError: when it is missing, holds no numbers, or has not `rank` axes.
    """
    array = arrays.get(name)
    if array is None or array.ndim != rank or not np.issubdtype(array.dtype, np.number):
        found = "is missing" if array is None else f"is {array.dtype}{list(array.shape)}"
        raise UserError(f"{name}, an array of numbers with {rank} axes, {found}")
    return array


def texts(arrays: Mapping[str, np.ndarray], name: str) -> tuple[str, ...]:
    """Returns the list of texts called `name`; raises UserError when it is missing or none."""
    array = arrays.get(name)
    if array is None or array.ndim != 1 or array.dtype.kind != "U":
        raise UserError(f"{name}, a list of texts, is missing")
    return tuple(str(text) for text in array)


def named(options: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Returns the names `str[N, D]` of options that are given by number, `int[N, D]`.

    Raises:
      UserError: when they are no whole numbers; names the row of one that has no name.
    """
    if not np.issubdtype(options.dtype, np.integer):
        raise UserError(f"operations are given by whole numbers, got {options.dtype}")
    wrong = np.argwhere((options < 0) | (options >= len(names)))
    if len(wrong):
        row, column = wrong[0]
        raise UserError(
            f"row {row}: operation {options[row, column]} has no name among {len(names)}"
        )
    return np.array(names)[options]


def text(arrays: Mapping[str, np.ndarray], name: str) -> str:
    """Returns the one text called `name`; raises UserError when it is missing or none."""
    array = arrays.get(name)
    if array is None or array.ndim != 0 or array.dtype.kind != "U":
        raise UserError(f"{name}, a text, is missing")
    return str(array)
