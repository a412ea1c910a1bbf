"""Measurements as plain text, for figures from a phone, an FPGA or a spreadsheet.

A CSV file in UTF-8. Lines that start with `#` before the table describe it:

    # space: {"name": "nasbench201", "args": {...}, "input_shape": [32, 32, 3], "num_outputs": 10}
    # device: Pixel 8                  (a name, or the JSON object of the measurement file)
    # batch_size: 1                    (1 when left out)
    # runtime: tflite                  (also: source, created, software, conditions, and
                                      rows, to be checked)
    architecture,latency_ms,latency_iqr_ms,repeats,energy_mj
    |nor_conv_3x3~0|+|...|,12.3,0.2,50,8.1

The network stands in the column `architecture` as the space writes it, or in one column per
decision. A row with a name in the column `operation` is an operation of the space, timed alone.
The metrics are columns with the names of `hwnas_jax.cost.METRICS`. Beside a metric may stand its
interquartile range (`latency_iqr_ms`, `cycles_iqr`; 0 when left out) and how many rounds it is the
median of (`latency_repeats`, `cycles_repeats`, or `repeats` for all; 1 when left out).
"""

import csv
import dataclasses
import datetime
import io
import json
from typing import Any

import numpy as np

from hwnas_jax.cost.files.measurements import (
    VERSION,
    Measurements,
    Sample,
    check_measurements,
    check_spec,
)
from hwnas_jax.cost.files.observations import METRICS
from hwnas_jax.errors import UserError, choose, nearest
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core.published import choices_from_spec

_HEADER = ("rows", "version", "space", "device", "batch_size", "source", "runtime", "software",
           "created", "conditions")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A CSV file taken apart.

    Attributes:
      header: what the lines `# key: value` say.
      columns: names.
      rows: line number in the file, and the cell of each column.
    """

    header: dict[str, str]
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]

    @property
    def spec(self) -> Any:
        """The description of the space in the header, or None; UserError when damaged."""
        if "space" not in self.header:
            return None
        try:
            return json.loads(self.header["space"])
        except ValueError as error:
            raise UserError(f"the line '# space:' is damaged: {error}") from error


def parse_sheet(text: str) -> Sheet:
    """Takes a CSV file apart.

    Raises:
      UserError: for a file without a table, an unnamed or repeated column, or a row of another
        length than the header, which is also what a file cut short ends with.
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
      UserError: when there is none, or for one that is a cost in a unit not known here.
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
    """Returns the architecture `int32[D]` of a row, from its string or its decisions' columns.

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
    """Returns the number in a cell; UserError says `what` it should have been."""
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{what} must be a number, got {text!r}") from None


def parse_text(
    text: str,
    space: Choices | None = None,
    *,
    device: str | None = None,
    batch_size: int | None = None,
) -> Measurements:
    """Reads measurements of one device.

    Args:
      text: the file.
      space: the space it must belong to; None takes the header's.
      device: a name, where the header has none.
      batch_size: images per call, where the header has none.

    Raises:
      UserError: names the row and what is wrong with it.
    """
    sheet = parse_sheet(text)
    header = sheet.header
    for key in header:
        close = nearest(key, _HEADER)
        if key not in _HEADER and close:
            raise UserError(f"unknown line '# {key}:'; did you mean {close!r}?")
    if header.get("version", str(VERSION)) != str(VERSION):
        raise UserError(f"version {header['version']}; known is {VERSION}")
    if space is None:
        if sheet.spec is None:
            raise UserError("it does not say of which space: add a line '# space: {...}'")
        space = choices_from_spec(sheet.spec)
    elif sheet.spec is not None:
        check_spec(sheet.spec, space, "they")
    names = tuple(decision.name for decision in space.decisions)
    known = (*known_columns(), *names)
    metrics = metric_columns(sheet.columns, known)
    for column in sheet.columns:
        choose(column, known, "column")
    operations: dict[str, dict[str, Sample]] = {}
    architectures, networks, where = [], [], []
    for line, row in sheet.rows:
        place = f"line {line}"
        samples = {
            metric: _sample(row, metric, place)
            for metric in metrics
            if row[metric] or not row.get("operation")
        }
        name = row.get("operation")
        if name:
            if name in operations:
                raise UserError(f"{place}: the operation {name!r} stands there twice")
            operations[name] = samples
            continue
        architectures.append(space.to_names(parse_architecture(row, space, place)))
        networks.append(samples)
        where.append(place)
    size = header.get("batch_size", str(batch_size or 1))
    if batch_size is not None and size != str(batch_size):
        raise UserError(f"it is for batch_size {size}, not {batch_size}")
    return check_measurements(
        Measurements(
            device=_device(header.get("device", device)),
            software=_object(header.get("software", "{}"), "software"),
            batch_size=_whole(size, "batch_size"),
            space=space.spec,
            operations=operations,
            architectures=tuple(architectures),
            networks=tuple(networks),
            source=header.get("source", "measured"),
            runtime=header.get("runtime", "unknown"),
            conditions=_object(header.get("conditions", "{}"), "conditions"),
            created=header.get(
                "created", datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            ),
        ),
        space,
        where,
    )


def to_text(measurements: Measurements) -> str:
    """Returns the measurements as plain text; `parse_text` reads it back to the last digit."""
    header = {
        "version": VERSION, "rows": len(measurements.operations) + len(measurements.networks),
        "space": json.dumps(measurements.space),
        "device": json.dumps(measurements.device), "batch_size": measurements.batch_size,
        "source": measurements.source, "runtime": measurements.runtime,
        "software": json.dumps(measurements.software), "created": measurements.created,
        "conditions": json.dumps(measurements.conditions),
    }  # fmt: skip
    rows = [*measurements.operations.values(), *measurements.networks]
    metrics = [metric for metric in METRICS if any(metric in row for row in rows)]
    names = list(measurements.architectures[0]) if measurements.architectures else []
    clash = known_columns().intersection(names)
    if clash:
        raise UserError(f"decisions named {sorted(clash)} cannot be told from columns; save .json")
    out = io.StringIO()
    out.writelines(f"# {key}: {value}\n" for key, value in header.items())
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["operation", *names]
        + [f(metric) for metric in metrics for f in (str, iqr_column, repeats_column)]
    )
    for name, samples in measurements.operations.items():
        writer.writerow([name, *("" for _ in names), *_cells(samples, metrics)])
    for options, samples in zip(measurements.architectures, measurements.networks, strict=True):
        chosen = [options[name] for name in names]
        writer.writerow(["", *chosen, *_cells(samples, metrics)])
    return out.getvalue()


def iqr_column(metric: str) -> str:
    """Returns the name of the spread beside a metric.

    >>> iqr_column("latency_ms"), iqr_column("cycles")
    ('latency_iqr_ms', 'cycles_iqr')
    """
    stem, _, unit = metric.rpartition("_")
    return f"{stem}_iqr_{unit}" if stem else f"{metric}_iqr"


def repeats_column(metric: str) -> str:
    """Returns the name of the rounds beside a metric.

    >>> repeats_column("latency_ms")
    'latency_repeats'
    """
    return f"{metric.rpartition('_')[0] or metric}_repeats"


def known_columns() -> set[str]:
    """Returns the names of columns with a meaning of their own, in a file of one device."""
    beside = {f(metric) for metric in METRICS for f in (iqr_column, repeats_column)}
    return {"architecture", "operation", "repeats", *METRICS, *beside}


def _cells(samples, metrics):
    cells: list[Any] = []
    for metric in metrics:
        sample = samples.get(metric)
        cells += ["", "", ""] if sample is None else [sample.median, sample.iqr, sample.repeats]
    return cells


def _sample(row, metric, where):
    spread = row.get(iqr_column(metric)) or "0"
    repeats = row.get(repeats_column(metric)) or row.get("repeats") or "1"
    return Sample(
        number(row[metric], f"{where}: {metric}"),
        number(spread, f"{where}: {iqr_column(metric)}"),
        _whole(repeats, f"{where}: repeats"),
    )


def _whole(text, what):
    if not text.isascii() or not text.isdigit():
        raise UserError(f"{what} must be a whole number, got {text!r}")
    return int(text)


def _device(text):
    if text is None:
        raise UserError("it does not say of which device: add a line '# device: NAME'")
    return _object(text, "device") if text.startswith("{") else {"kind": text}


def _object(text, what):
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"the line '# {what}:' is damaged: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"the line '# {what}:' must hold a JSON object, got {text!r}")
    return value
