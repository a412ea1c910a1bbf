"""Measurements as plain text, for figures from a phone, an FPGA or a spreadsheet.

A CSV file, as text or as a spreadsheet saves it (`sheet` says what is undone). Lines that start
with `#` before the table describe it:

    # space: {"name": "nasbench201", "args": {...}, "input_shape": [32, 32, 3], "num_outputs": 10}
    # device: Pixel 8                  (a name, or the JSON object of the measurement file)
    # batch_size: 1                    (1 when left out)
    # runtime: tflite                  (also: source, created, software, held_out, conditions;
                                      and rows, which is checked against the table)
    architecture,latency_ms,latency_iqr_ms,repeats,energy_mj
    |nor_conv_3x3~0|+|...|,12.3,0.2,50,8.1

The column `architecture` holds the network in the space's own notation, or as a list of the numbers
of its options, counted from 0: `[3, 0, 1, ...]`. A file may instead have one column per decision. A
row with a name in the column `operation` is an operation of the space that was timed alone. Each
metric is a column with its name in `hwnas_jax.cost.METRICS`, or with a name that says its unit, as
`latency (us)` does: `columns` says which are understood. Two optional columns go with a metric: its
interquartile range (`latency_iqr_ms`, `cycles_iqr`; 0 when left out) and the number of rounds
behind the median (`latency_repeats`, `cycles_repeats`, or `repeats` for all metrics; 1 when left
out). Further columns are left out, which the notes say.

Legend: `D` decisions, `T` rows of a table.
"""

import csv
import datetime
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwnas_jax.cost.files.architectures import parse_architecture
from hwnas_jax.cost.files.check import check_measurements, check_notes
from hwnas_jax.cost.files.columns import RESERVED, Columns, iqr_column, repeats_column, understand
from hwnas_jax.cost.files.measurements import VERSION, Measurements, Sample, check_spec
from hwnas_jax.cost.files.numerals import whole
from hwnas_jax.cost.files.observations import METRICS
from hwnas_jax.cost.files.sheet import header_object, header_text, parse_sheet
from hwnas_jax.errors import UserError, nearest
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
    gaps: bool = False,
    numbered: np.ndarray | None = None,
) -> Measurements:
    """Reads measurements of one device.

    Args:
      text: the file's content.
      space: the space it must belong to; None takes the space that the header names.
      device: names the device where the file does not.
      batch_size: images per call, where the header does not say.
      gaps: whether a network may lack its figures; it is then left out.
      numbered: `int32[T, D]`, what the numbers of a column `index` mean, counted from 0.

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
    columns = understand(sheet, [decision.name for decision in space.decisions])
    size = header.get("batch_size", str(batch_size or 1))
    if batch_size is not None and size != str(batch_size):
        raise UserError(f"it is for batch_size {size}, not {batch_size}")
    conditions = header_object(header.get("conditions", "{}"), "conditions")
    check_notes(conditions)
    notes = [*columns.notes] if sheet.spec is not None else [*columns.notes, unsaid_size(space)]
    if notes:
        conditions["notes"] = [*conditions.get("notes", ()), *notes]
    operations, architectures, networks, where = _rows(columns, space, gaps, numbered)
    return check_measurements(
        Measurements(
            device=_device(columns, header, device),
            software=header_object(header.get("software", "{}"), "software"),
            batch_size=whole(size, "batch_size"),
            space=space.spec,
            operations=operations,
            architectures=architectures,
            networks=networks,
            source=header.get("source", "measured"),
            runtime=header.get("runtime", "unknown"),
            held_out=whole(header.get("held_out", "0"), "held_out"),
            conditions=conditions,
            created=header.get(
                "created", datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            ),
        ),
        space,
        where,
    )


Samples = dict[str, Sample]


def _rows(
    columns: Columns, space: Choices, gaps: bool, numbered: np.ndarray | None
) -> tuple[dict[str, Samples], tuple[dict[str, str], ...], tuple[Samples, ...], list[str]]:
    """Returns the operations, the architectures, what these cost, and where they stand."""
    operations: dict[str, Samples] = {}
    architectures, networks, where = [], [], []
    for line, row in columns.sheet.rows:
        place, name = f"line {line}", columns.text(row, "operation")
        samples = {}
        for metric in columns.values:
            median = columns.value(row, metric, place)
            if median is not None:
                samples[metric] = Sample(
                    median,
                    columns.spread(row, metric, place),
                    columns.repeats(row, metric, place),
                )
            elif not name and not gaps:
                raise UserError(f"{place}: {metric} must be a number, the cell is empty")
        if name:
            if name in operations:
                raise UserError(f"{place}: the operation {name!r} stands there twice")
            operations[name] = samples
            continue
        architecture = space.to_names(parse_architecture(columns, row, space, place, numbered))
        if samples:
            architectures.append(architecture)
            networks.append(samples)
            where.append(place)
    return operations, tuple(architectures), tuple(networks), where


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
        "source": measurements.source, "runtime": header_text(measurements.runtime),
        "software": json.dumps(measurements.software), "created": header_text(measurements.created),
        "held_out": measurements.held_out, "conditions": json.dumps(measurements.conditions),
    }  # fmt: skip
    rows = [*measurements.operations.values(), *measurements.networks]
    metrics = [metric for metric in METRICS if any(metric in row for row in rows)]
    names = list(measurements.architectures[0]) if measurements.architectures else []
    clash = RESERVED.intersection(names)
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


def _cells(samples: Mapping[str, Sample], metrics: Sequence[str]) -> list[Any]:
    cells: list[Any] = []
    for metric in metrics:
        sample = samples.get(metric)
        cells += ["", "", ""] if sample is None else [sample.median, sample.iqr, sample.repeats]
    return cells


def _device(columns: Columns, header: Mapping[str, str], otherwise: str | None) -> dict[str, Any]:
    named = {columns.text(row, "device") for _, row in columns.sheet.rows} - {""}
    if len(named) > 1:
        raise UserError(
            f"it has figures of several devices, {', '.join(sorted(named))}: fit a cost model of "
            "one with hwnas cost fit FILE --device NAME, or keep the rows of one"
        )
    text = header.get("device") or next(iter(named), otherwise)
    if text is None:
        raise UserError("it does not say of which device: add a line '# device: NAME'")
    device = header_object(text, "device") if text.startswith("{") else {"kind": text}
    if named - {str(device.get("kind"))}:
        raise UserError(f"it is of {device.get('kind')}, but its column says {', '.join(named)}")
    return device
