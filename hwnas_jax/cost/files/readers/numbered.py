"""Architectures by their number: the row of a table, counted from 0.

Legend: `D` decisions, `T` rows of a table.
"""

import functools
import re
from pathlib import Path

import numpy as np

from hwnas_jax.cost.files.readers.build_table import encode_names
from hwnas_jax.cost.files.readers.load import load_table
from hwnas_jax.cost.files.readers.locate import find_data
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import named, numbers, read_npz, texts
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core.written import as_architecture

_PUBLISHED = {"nasbench201": "nb201_accuracy", "transnas_cell": "transnas101_micro"}
"""The table whose rows have the numbers that a benchmark's authors gave its networks."""
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_LONGEST = 1000
"""Characters of the name of a table."""


def read_architecture(text: str, space: Choices, where: str = "") -> np.ndarray:
    """Returns the architecture `int32[D]` that a text means, with tables to look numbers up in.

    Args:
      text: as `as_architecture` reads it, or `TABLE:NUMBER`, a row of a table, which is a file or
        its name in the folder `HWNAS_DATA`. A number alone is that of the published table of the
        space, where it has one.
      space: the space of the architecture.
      where: names the place in messages.

    Raises:
      UserError: names the place and the nearest option, or the table that is not there.
    """
    before = f"{where}: " if where else ""
    try:
        try:
            return as_architecture(space, text)
        except UserError:
            table, row = _place(text, space)
            if table is None:
                raise
        return as_architecture(space, int(row), numbered=rows_of(table, space))
    except UserError as error:
        raise UserError(f"{before}{error}") from error


def _place(text: str, space: Choices) -> tuple[str | None, str]:
    """Returns which row of which table a text means; None where it means none."""
    table, _, row = text.strip().rpartition(":")
    if not _NUMBER.fullmatch(row):
        return None, ""
    if not table:
        return _PUBLISHED.get(space.name), row
    is_name = len(table) <= _LONGEST and any(character.isalpha() for character in table)
    return (table if is_name else None), row


def rows_of(table: str | Path, space: Choices) -> np.ndarray:
    """Returns the architectures of a table in the order of its rows, `int32[T, D]`.

    Args:
      table: the file, or its name in `HWNAS_DATA`: an `.npz` of accuracies or costs with the arrays
        `ops` and `op_names`, or any table that `load_table` reads.
      space: the space that they must be of.

    Raises:
      UserError: names the table that is not there, cannot be read, or is of another space.
    """
    try:
        path = find_data(table)
        about = path.stat()
        options = _options(path, about.st_mtime_ns, about.st_size)
    except OSError as error:
        raise UserError(f"table {table} cannot be read: {error.strerror}") from error
    try:
        return encode_names(space, options)
    except UserError as error:
        raise UserError(f"the rows of {path} are not of the space {space.name}: {error}") from error


@functools.lru_cache(maxsize=4)
def _options(path: Path, *version: int) -> np.ndarray:
    """Returns the options of the networks of a table by their names, `str[T, D]`.

    Args:
      path: the table.
      version: when it was written, and its size: a file that changes is read again.
    """
    del version
    if path.is_file():
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        if zipped and {"ops", "op_names"} <= (arrays := read_npz(path)).keys():
            return named(numbers(arrays, "ops", 2), texts(arrays, "op_names"))
    found = load_table(path)
    names = [decision.options for decision in found.space.decisions]
    columns = [
        np.array(own)[column] for own, column in zip(names, found.architectures.T, strict=True)
    ]
    return np.stack(columns, axis=1)
