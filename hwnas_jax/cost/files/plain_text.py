"""Measurements as plain text, for figures from a phone, an FPGA or a spreadsheet.

A CSV file in UTF-8. Lines that start with `#` before the table describe it:

    # space: {"name": "nasbench201", "args": {...}, "input_shape": [32, 32, 3], "num_outputs": 10}
    # device: Pixel 8                  (a name, or the JSON object of the measurement file)
    # batch_size: 1                    (1 when left out)
    # runtime: tflite                  (also: source, created, software, held_out, conditions;
                                      and rows, which is checked against the table)
    architecture,latency_ms,latency_iqr_ms,repeats,energy_mj
    |nor_conv_3x3~0|+|...|,12.3,0.2,50,8.1

The column `architecture` holds the network in the space's own notation. A file may instead have one
column per decision. A row with a name in the column `operation` is an operation of the space that
was timed alone. Each metric is a column with its name in `hwnas_jax.cost.METRICS`. Two optional
columns go with a metric: its interquartile range (`latency_iqr_ms`, `cycles_iqr`; 0 when left out)
and the number of rounds behind the median (`latency_repeats`, `cycles_repeats`, or `repeats` for
all metrics; 1 when left out).
"""

import csv
import datetime
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from hwnas_jax.cost.files.check import check_measurements
from hwnas_jax.cost.files.measurements import VERSION, Measurements, Sample, check_spec
from hwnas_jax.cost.files.observations import METRICS
from hwnas_jax.cost.files.sheet import metric_columns, number, parse_architecture, parse_sheet
from hwnas_jax.errors import UserError, choose, nearest
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core.published import choices_from_spec

_HEADER = ("rows", "version", "space", "device", "batch_size", "source", "runtime", "software",
           "created", "held_out", "conditions")  # fmt: skip


def parse_text(
    text: str,
    space: Choices | None = None,
    *,
    device: str | None = None,
    batch_size: int | None = None,
) -> Measurements:
    """Reads measurements of one device.

    Args:
      text: the file's content.
      space: the space it must belong to; None takes the space that the header names.
      device: names the device where the header does not.
      batch_size: images per call, where the header does not say.

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
    conditions = _object(header.get("conditions", "{}"), "conditions")
    if sheet.spec is None:
        conditions["notes"] = [*conditions.get("notes", ()), unsaid_size(space)]
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
            held_out=_whole(header.get("held_out", "0"), "held_out"),
            conditions=conditions,
            created=header.get(
                "created", datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            ),
        ),
        space,
        where,
    )


def unsaid_size(space: Choices) -> str:
    """Returns the warning for a file that does not say which networks of a space it measured."""
    said = {key: value for key, value in space.spec.items() if key not in ("name", "decisions")}
    return (
        f"warning: the file does not say at which size its networks were measured; they are taken "
        f"as those of {space.name} with {json.dumps(said)}. If that is right, add the line "
        f"'# space: {json.dumps(space.spec)}' to it"
    )


def to_text(measurements: Measurements) -> str:
    """Returns the measurements as text that `parse_text` reads back to the last digit.

    Raises:
      UserError: when a decision has the name of a column with another meaning.
    """
    header = {
        "version": VERSION, "rows": len(measurements.operations) + len(measurements.networks),
        "space": json.dumps(measurements.space),
        "device": json.dumps(measurements.device), "batch_size": measurements.batch_size,
        "source": measurements.source, "runtime": measurements.runtime,
        "software": json.dumps(measurements.software), "created": measurements.created,
        "held_out": measurements.held_out, "conditions": json.dumps(measurements.conditions),
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
    """Returns the name of the column with a metric's interquartile range.

    >>> iqr_column("latency_ms"), iqr_column("cycles")
    ('latency_iqr_ms', 'cycles_iqr')
    """
    stem, _, unit = metric.rpartition("_")
    return f"{stem}_iqr_{unit}" if stem else f"{metric}_iqr"


def repeats_column(metric: str) -> str:
    """Returns the name of the column with a metric's number of rounds.

    >>> repeats_column("latency_ms")
    'latency_repeats'
    """
    return f"{metric.rpartition('_')[0] or metric}_repeats"


def known_columns() -> set[str]:
    """Returns the columns, apart from decisions, that a file of one device may have."""
    beside = {f(metric) for metric in METRICS for f in (iqr_column, repeats_column)}
    return {"architecture", "operation", "repeats", *METRICS, *beside}


def _cells(samples: Mapping[str, Sample], metrics: Sequence[str]) -> list[Any]:
    cells: list[Any] = []
    for metric in metrics:
        sample = samples.get(metric)
        cells += ["", "", ""] if sample is None else [sample.median, sample.iqr, sample.repeats]
    return cells


def _sample(row: Mapping[str, str], metric: str, where: str) -> Sample:
    spread = row.get(iqr_column(metric)) or "0"
    repeats = row.get(repeats_column(metric)) or row.get("repeats") or "1"
    return Sample(
        number(row[metric], f"{where}: {metric}"),
        number(spread, f"{where}: {iqr_column(metric)}"),
        _whole(repeats, f"{where}: repeats"),
    )


def _whole(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise UserError(f"{what} must be a whole number, got {text!r}")
    return int(text)


def _device(text: str | None) -> dict[str, Any]:
    if text is None:
        raise UserError("it does not say of which device: add a line '# device: NAME'")
    return _object(text, "device") if text.startswith("{") else {"kind": text}


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"the line '# {what}:' is damaged: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"the line '# {what}:' must hold a JSON object, got {text!r}")
    return value
