"""A CSV file of architectures and metrics, of one device or of several.

The format is that of `hwnas_jax.cost.files.plain_text`, with three freedoms. A column `device` may
name the device of each row; an architecture then has one row for each device. Columns that are not
metrics (an index, an accuracy) are ignored, and the table's notes say so. An empty cell means that
the value is unknown.

Legend: `N` architectures, `D` decisions, `V` devices.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np

from hwnas_jax.cost.files.measurements import check_spec
from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.files.plain_text import known_columns, unsaid_size
from hwnas_jax.cost.files.readers.build_table import make_table
from hwnas_jax.cost.files.sheet import (
    Sheet,
    metric_columns,
    number,
    parse_architecture,
    parse_sheet,
)
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core import published


def read_csv(path: Path, *, space: Choices | None = None) -> CostTable:
    """Reads a table. A single wrong row makes it refuse the whole file.

    Args:
      path: the file.
      space: the space of the architectures. None takes the one that the line `# space:` names, or
        NAS-Bench-201 where the first architecture is written as one of its cells.

    Raises:
      UserError: names the line and what is wrong with it.
    """
    try:
        sheet = parse_sheet(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UserError(f"it is not text: {error}") from error
    space = _space(sheet, space)
    names = [decision.name for decision in space.decisions]
    own = (
        [name for name in names if name in sheet.columns]
        if "architecture" not in sheet.columns
        else []
    )
    metrics = metric_columns(sheet.columns, (*known_columns(), "device", *own))
    devices: dict[str, int] = {}
    rows: dict[tuple[int, ...], int] = {}
    cells: dict[tuple[int, int], tuple[int, dict[str, float]]] = {}
    for line, row in sheet.rows:
        where = f"line {line}"
        if row.get("operation"):
            continue
        architecture = tuple(int(i) for i in parse_architecture(row, space, where))
        device = row.get("device") or _device(sheet, path)
        key = devices.setdefault(device, len(devices)), rows.setdefault(architecture, len(rows))
        if key in cells:
            first, values = cells[key]
            raise UserError(
                f"{where} is the same architecture as line {first} on {device} "
                f"({', '.join(f'{row[metric]} and {values[metric]:g}' for metric in metrics)}): "
                "keep one"
            )
        cells[key] = line, {metric: _value(row[metric], metric, where) for metric in metrics}
    table = {metric: np.full((len(devices), len(rows)), np.nan) for metric in metrics}
    for (device_row, row_number), (_, values) in cells.items():
        for metric, value in values.items():
            table[metric][device_row, row_number] = value
    architectures = np.array(list(rows), np.int32).reshape(len(rows), space.num_decisions)
    left_out = [c for c in sheet.columns if c not in (*metrics, *own, "architecture", "device")]
    size = sheet.header.get("batch_size", "1")
    lines = {row: line for (_, row), (line, _) in reversed(cells.items())}
    found = make_table(
        path.name, space, architectures, tuple(devices), table,
        rows=[f"line {lines[row]}" for row in range(len(rows))],
        batch_size=int(size) if size.isdigit() else 1,
    )  # fmt: skip
    notes = [unsaid_size(space)] if sheet.spec is None else []
    if left_out:
        notes.append(f"columns left out: {', '.join(left_out)}")
    return dataclasses.replace(found, notes=(*found.notes, *notes))


def _space(sheet: Sheet, space: Choices | None) -> Choices:
    if space is not None:
        if sheet.spec is not None:
            check_spec(sheet.spec, space, "its rows")
        return space
    if sheet.spec is not None:
        return published.choices_from_spec(sheet.spec)
    first = sheet.rows[0][1].get("architecture", "")
    if first.startswith("|") and "~" in first:
        return published.nasbench201()
    raise UserError("it does not say of which space its rows are: add a line '# space: {...}'")


def _device(sheet: Sheet, path: Path) -> str:
    if "device" in sheet.columns:
        raise UserError("the column device has an empty cell")
    text = sheet.header.get("device", path.stem)
    if text.startswith("{"):
        try:
            return str(json.loads(text).get("kind", path.stem))
        except ValueError as error:
            raise UserError(f"the line '# device:' is damaged: {error}") from error
    return text


def _value(text: str, metric: str, where: str) -> float:
    if not text:
        return np.nan
    value = number(text, f"{where}: {metric}")
    if not (np.isfinite(value) and value > 0):
        raise UserError(f"{where}: {metric} must be positive and finite, got {text}")
    return value
