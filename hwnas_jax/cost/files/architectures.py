"""Architectures as tables write them: in the space's notation, as numbers, or in columns.

Legend: `D` decisions, `T` rows of a table.
"""

import re
from collections.abc import Mapping

import numpy as np

from hwnas_jax.cost.files.columns import Columns
from hwnas_jax.cost.files.numerals import whole
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices


def parse_architecture(
    columns: Columns,
    row: Mapping[str, str],
    space: Choices,
    where: str,
    numbered: np.ndarray | None = None,
) -> np.ndarray:
    """Returns the architecture `int32[D]` of a row.

    Args:
      columns: of the sheet.
      row: its cells.
      space: the space of the architecture.
      where: names the row in messages.
      numbered: `int32[T, D]`, what the numbers of a column `index` mean, counted from 0. None where
        no table says.

    Raises:
      UserError: names the row and the nearest option.
    """
    names = [decision.name for decision in space.decisions]
    if "architecture" in columns.named:
        return read_architecture(columns.text(row, "architecture"), space, where)
    if "index" in columns.named and not set(names) & columns.named.keys():
        return _numbered(columns.text(row, "index"), numbered, where)
    try:
        given = {name: columns.text(row, name) for name in names if name in columns.named}
        return space.from_names(given)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _numbered(text: str, numbered: np.ndarray | None, where: str) -> np.ndarray:
    if numbered is None:
        raise UserError(
            "its column index counts the rows of a table, and there is none to look them up in: "
            "add a column architecture"
        )
    place = whole(text, f"{where}: index")
    if place >= len(numbered):
        raise UserError(f"{where}: index must lie in [0, {len(numbered)}), got {place}")
    return numbered[place]


def read_architecture(text: str, space: Choices, where: str) -> np.ndarray:
    """Returns the architecture `int32[D]` that a text means.

    It is a list of the numbers of the options in brackets, counted from 0, or in the notation of
    the space.

    Args:
      text: what was written.
      space: the space of the architecture.
      where: names the place in messages.

    Raises:
      UserError: names the place and the nearest option.
    """
    try:
        listed = re.fullmatch(r"[\[(]([0-9,;\s]*)[\])]", text.strip(), re.ASCII)
        if listed is None:
            return space.from_string(text)
        return space.from_numbers([int(word) for word in re.findall(r"\d+", listed[1])])
    except (UserError, ValueError) as error:
        raise UserError(f"{where}: {error}") from error
