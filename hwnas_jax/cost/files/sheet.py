"""A CSV file taken apart: its header lines, its columns, its rows.

Legend: `D` decisions.
"""

import csv
import dataclasses
import json
from typing import Any

import numpy as np

from hwnas_jax.cost.files.observations import METRICS
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A CSV file taken apart.

    Attributes:
      header: the values of the lines `# key: value`, by key.
      columns: their names.
      rows: of each row its line number in the file, and its cell in each column.
    """

    header: dict[str, str]
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]

    @property
    def spec(self) -> Any:
        """The `Choices.spec` in the header, or None when there is none.

        Raises:
          UserError: when it is damaged.
        """
        if "space" not in self.header:
            return None
        try:
            return json.loads(self.header["space"])
        except ValueError as error:
            raise UserError(f"the line '# space:' is damaged: {error}") from error


def parse_sheet(text: str) -> Sheet:
    """Takes a CSV file apart.

    Raises:
      UserError: for a file without a table, an unnamed or repeated column, or a row whose length
        differs from the header's. A file that was cut short fails in this way too.
    """
    header: dict[str, str] = {}
    lines = text.splitlines(keepends=True)
    first = 0
    while first < len(lines) and (lines[first].startswith("#") or not lines[first].strip()):
        key, colon, value = lines[first][1:].partition(":")
        if colon:
            header[key.strip()] = value.strip()
        first += 1
    if first == len(lines):
        raise UserError("there is no table in it")
    reader = csv.reader(lines[first:], strict=True)
    try:
        columns = tuple(cell.strip() for cell in next(reader))
        if "" in columns or len(set(columns)) != len(columns):
            raise UserError(f"line {first + 1}: columns must have distinct names: {list(columns)}")
        rows = []
        for cells in reader:
            number = first + reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(columns):
                raise UserError(
                    f"line {number}: {len(cells)} cells, there are {len(columns)} columns"
                )
            rows.append((number, dict(zip(columns, map(str.strip, cells), strict=True))))
    except csv.Error as error:
        raise UserError(f"line {first + reader.line_num}: {error}") from error
    if not rows:
        raise UserError("there is no row in it")
    if "rows" in header and (header["rows"] != str(len(rows)) or text[-1] != "\n"):
        raise UserError(f"it is cut short: there should be {header['rows']} whole rows")
    return Sheet(header, columns, tuple(rows))


def metric_columns(columns: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the columns that are metrics.

    Args:
      columns: names in the file.
      others: names that have another meaning.

    Raises:
      UserError: when no column is a metric, or when one looks like a metric in an unknown unit.
    """
    stems = {metric.partition("_")[0]: metric for metric in METRICS}
    found = []
    for column in columns:
        if column in METRICS:
            found.append(column)
        elif column not in others:
            metric = stems.get(column.lower().replace("-", "_").split("_")[0])
            if metric is not None:
                raise UserError(
                    f"the column {column!r} has a unit that is not known here; convert it to "
                    f"{metric}, {METRICS[metric]}"
                )
    if not found:
        raise UserError(
            f"no column is a metric: there are {', '.join(columns)}; known are {', '.join(METRICS)}"
        )
    return tuple(found)


def parse_architecture(row: dict[str, str], space: Choices, where: str) -> np.ndarray:
    """Returns the architecture `int32[D]` of a row, from its notation or its decisions' columns.

    Raises:
      UserError: names the row and the nearest option.
    """
    try:
        if "architecture" in row:
            return space.from_string(row["architecture"])
        known = [decision.name for decision in space.decisions]
        return space.from_names({name: row[name] for name in known if name in row})
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def number(text: str, what: str) -> float:
    """Returns the number in a cell; raises UserError, naming the cell by `what`, for other text."""
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{what} must be a number, got {text!r}") from None
