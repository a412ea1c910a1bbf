"""A CSV file of architectures and metrics, of one device or of several.

The format is that of `hwnas_jax.cost.files.plain_text`, with two freedoms. A column `device` may
name the device of each row; an architecture then has one row for each device. An empty cell means
that the value is unknown.

Legend: `N` architectures, `D` decisions, `V` devices.
"""

import dataclasses
from pathlib import Path

import numpy as np

from hwnas_jax.cost.files.architectures import parse_architecture
from hwnas_jax.cost.files.columns import Columns, understand
from hwnas_jax.cost.files.measurements import check_spec
from hwnas_jax.cost.files.numerals import whole
from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.files.plain_text import unsaid_size
from hwnas_jax.cost.files.readers.build_table import make_table
from hwnas_jax.cost.files.sheet import Sheet, decode, header_object, parse_sheet
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core import published


def read_csv(
    path: Path, *, space: Choices | None = None, numbered: np.ndarray | None = None
) -> CostTable:
    """Reads a table. A single wrong row makes it refuse the whole file.

    Args:
      path: the file.
      space: the space of the architectures. None takes the one that the line `# space:` names, or
        NAS-Bench-201 where the first architecture is written as one of its cells.
      numbered: as in `parse_text`.

    Raises:
      UserError: names the line and what is wrong with it.
    """
    sheet = parse_sheet(decode(path.read_bytes()))
    space = _space(sheet, space)
    columns = understand(sheet, [decision.name for decision in space.decisions])
    metrics = tuple(columns.values)
    devices: dict[str, int] = {}
    rows: dict[tuple[int, ...], int] = {}
    cells: dict[tuple[int, int], tuple[int, dict[str, float]]] = {}
    for line, row in sheet.rows:
        where = f"line {line}"
        if columns.text(row, "operation"):
            continue
        architecture = tuple(
            int(i) for i in parse_architecture(columns, row, space, where, numbered)
        )
        device = columns.text(row, "device") or _device(columns, path)
        key = devices.setdefault(device, len(devices)), rows.setdefault(architecture, len(rows))
        if key in cells:
            first, values = cells[key]
            raise UserError(
                f"{where} is the same architecture as line {first} on {device} "
                f"({', '.join(_both(columns, row, values))}): keep one"
            )
        cells[key] = line, {metric: _value(columns, row, metric, where) for metric in metrics}
    table = {metric: np.full((len(devices), len(rows)), np.nan) for metric in metrics}
    for (device_row, row_number), (_, values) in cells.items():
        for metric, value in values.items():
            table[metric][device_row, row_number] = value
    architectures = np.array(list(rows), np.int32).reshape(len(rows), space.num_decisions)
    size = sheet.header.get("batch_size", "1")
    lines = {row: line for (_, row), (line, _) in reversed(cells.items())}
    found = make_table(
        path.name, space, architectures, tuple(devices), table,
        rows=[f"line {lines[row]}" for row in range(len(rows))],
        batch_size=whole(size, "batch_size"),
    )  # fmt: skip
    notes = [unsaid_size(space)] if sheet.spec is None else []
    return dataclasses.replace(found, notes=(*found.notes, *notes, *columns.notes))


def _space(sheet: Sheet, space: Choices | None) -> Choices:
    if space is not None:
        if sheet.spec is not None:
            check_spec(sheet.spec, space, "its rows")
        return space
    if sheet.spec is not None:
        return published.choices_from_spec(sheet.spec)
    named = understand(sheet, metrics=False)
    first = named.text(sheet.rows[0][1], "architecture")
    if first.startswith("|") and "~" in first:
        return published.nasbench201()
    raise UserError("it does not say of which space its rows are: add a line '# space: {...}'")


def _device(columns: Columns, path: Path) -> str:
    if "device" in columns.named:
        raise UserError("the column device has an empty cell")
    text = columns.sheet.header.get("device", path.stem)
    if text.startswith("{"):
        return str(header_object(text, "device").get("kind", path.stem))
    return text


def _value(columns: Columns, row: dict[str, str], metric: str, where: str) -> float:
    value = columns.value(row, metric, where)
    if value is not None and value <= 0:
        raise UserError(f"{where}: {metric} must be positive and finite, got {value:g}")
    return np.nan if value is None else value


def _both(columns: Columns, row: dict[str, str], values: dict[str, float]) -> list[str]:
    """Returns the two values of each metric that one network has."""
    return [f"{row[columns.values[metric].column]} and {values[metric]:g}" for metric in values]
