"""Architectures as tables write them: in the space's notation, as numbers, or in columns.

Legend: `D` decisions, `T` rows of a table.
"""

from collections.abc import Mapping

import numpy as np

from hwnas_jax.cost.files.columns import Columns
from hwnas_jax.cost.files.numerals import whole
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core.written import as_architecture


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
    by_row = "index" in columns.named and not set(names) & columns.named.keys()
    try:
        if "architecture" in columns.named:
            return as_architecture(space, columns.text(row, "architecture"), numbered=numbered)
        if not by_row:
            given = {name: columns.text(row, name) for name in names if name in columns.named}
            return space.from_names(given)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    if numbered is None:
        raise UserError(
            "its column index counts the rows of a table, and there is none to look them up in: "
            "add a column architecture"
        )
    try:
        place = whole(columns.text(row, "index"), "index")
        return as_architecture(space, place, numbered=numbered)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
