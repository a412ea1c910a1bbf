"""The measurement file: what networks cost, as JSON or as plain text.

The JSON form is one object, version 2:

    format      "hwnas_jax.measurements"
    version     2
    created     ISO 8601 time
    source      where the figures come from, one of `measurements.SOURCES`
    runtime     what ran the networks: "jax", "onnxruntime", "tflite", ...
    device      {platform, kind, count, host_cpu, cpu_count}; `kind` names it, the rest is optional
    software    versions by name
    units       what each metric counts
    batch_size  images per call
    space       Choices.spec of the search space
    operations  [{name, metrics}]
    networks    [{architecture: {decision: option}, metrics}]
    held_out    optional: how many networks, the last ones, are only for judging cost models
    conditions  optional: how the figures were taken, {notes: sentences for people, ...}

`metrics` is `{metric: {median, iqr, repeats}}` with the metrics of `hwnas_jax.cost.METRICS`:
the median over `repeats` rounds and their interquartile range. Every network has the same metrics.
The plain text form, a CSV file, is described in `hwnas_jax.cost.files.plain_text`.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.cost.files.check import check_measurements, check_sample
from hwnas_jax.cost.files.measurements import Measurements, Sample, check_spec
from hwnas_jax.cost.files.observations import METRICS
from hwnas_jax.cost.files.plain_text import VERSION, parse_text, to_text
from hwnas_jax.cost.files.sheet import decode
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.typed import Whole, check_value, open_ended, read_typed
from hwnas_jax.files.whole import write_whole
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core.published import choices_from_spec

FORMAT = "hwnas_jax.measurements"


def save_measurements(measurements: Measurements, path: Path) -> None:
    """Writes a measurement file, whole or not at all.

    Args:
      measurements: what to write.
      path: the file. It becomes plain text where the name ends in `.csv`, JSON otherwise.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        text = to_text(measurements)
    else:
        text = json.dumps(_payload(measurements), indent=1, allow_nan=False) + "\n"
    write_whole(path, text)


def load_measurements(
    path: Path,
    space: Choices | None = None,
    *,
    device: str | None = None,
    batch_size: int | None = None,
    gaps: bool = False,
    numbered: np.ndarray | None = None,
) -> Measurements:
    """Reads a measurement file and checks every row.

    Args:
      path: the file, of any name: JSON where it begins with a brace, plain text otherwise.
      space: the space it must belong to; None takes the space that the file names.
      device: names the device of a plain text file that does not.
      batch_size: images per call, for a plain text file that does not say.
      gaps: whether networks of a plain text file may lack their figures; they are left out.
      numbered: as in `parse_text`.

    Raises:
      UserError: names the file, the row and what is wrong with it.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        if not begins_json(content):
            return parse_text(
                decode(content), space,
                device=device, batch_size=batch_size, gaps=gaps, numbered=numbered,
            )  # fmt: skip
    except OSError as error:
        raise UserError(f"cannot read measurements {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"measurements {path} are damaged: {error}") from error
    except UserError as error:
        raise UserError(f"measurements {path}: {error}") from error
    file = read_typed(path, _File, "measurement file", file_format=FORMAT, version=VERSION)
    try:
        return _checked(file, space)
    except UserError as error:
        raise UserError(f"the measurement file {path}: {error}") from error


def begins_json(content: bytes) -> bool:
    """Returns whether a file that begins with `content` is a JSON object."""
    return content.lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n").startswith(b"{")


def _payload(measurements: Measurements) -> dict[str, Any]:
    rows = [*measurements.operations.values(), *measurements.networks]
    used = [metric for metric in METRICS if any(metric in row for row in rows)]
    return {
        "format": FORMAT,
        "version": VERSION,
        "created": measurements.created,
        "source": measurements.source,
        "runtime": measurements.runtime,
        "device": measurements.device,
        "software": measurements.software,
        "units": {metric: METRICS[metric] for metric in used},
        "batch_size": measurements.batch_size,
        "space": measurements.space,
        "operations": [
            {"name": name, "metrics": _plain(samples)}
            for name, samples in measurements.operations.items()
        ],
        "networks": [
            {"architecture": names, "metrics": _plain(samples)}
            for names, samples in zip(
                measurements.architectures, measurements.networks, strict=True
            )
        ],
        **({"held_out": measurements.held_out} if measurements.held_out else {}),
        **({"conditions": measurements.conditions} if measurements.conditions else {}),
    }


def _plain(samples: Mapping[str, Sample]) -> dict[str, Any]:
    return {metric: dataclasses.asdict(sample) for metric, sample in samples.items()}


@dataclasses.dataclass(frozen=True)
class _Operation:
    name: str
    metrics: dict[str, Sample]


@dataclasses.dataclass(frozen=True)
class _Network:
    architecture: dict[str, str]
    metrics: dict[str, Sample]


@open_ended
@dataclasses.dataclass(frozen=True)
class _Device:
    """What is read of `device`; it may say more."""

    platform: str | None = None
    kind: str | None = None
    cpu_count: Whole | None = None


@open_ended
@dataclasses.dataclass(frozen=True)
class _Conditions:
    """What is read of `conditions`; they may say more."""

    notes: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _File:
    """The JSON form, without its format and version."""

    created: str
    source: str
    runtime: str
    device: dict[str, Any]
    software: dict[str, str]
    batch_size: int
    space: dict[str, Any]
    operations: list[_Operation]
    networks: list[_Network]
    units: dict[str, str] = dataclasses.field(default_factory=dict)
    held_out: int = 0
    conditions: dict[str, Any] = dataclasses.field(default_factory=dict)


def _checked(file: _File, space: Choices | None) -> Measurements:
    check_value(_Device, file.device, "device")
    check_value(_Conditions, file.conditions, "conditions")
    for metric, counted in file.units.items():
        choose(metric, METRICS, "metric in units")
        if counted != METRICS[metric]:
            raise UserError(
                f"units.{metric} says {counted!r:.200}, and the values of {metric} count "
                f"{METRICS[metric]}: convert them, or leave out units.{metric}"
            )
    if space is None:
        space = choices_from_spec(file.space)
    check_spec(file.space, space, "they")
    operations: dict[str, dict[str, Sample]] = {}
    for number, operation in enumerate(file.operations):
        where = f"operations[{number}]"
        _check_samples(operation.metrics, where)
        if operation.name in operations:
            raise UserError(f"{where}: name must be a new text, got {operation.name!r}")
        operations[operation.name] = operation.metrics
    for number, network in enumerate(file.networks):
        where = f"networks[{number}]"
        _check_samples(network.metrics, where)
        try:
            space.from_names(network.architecture)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    return check_measurements(
        Measurements(
            device=file.device, software=file.software, batch_size=file.batch_size,
            space=file.space, operations=operations,
            architectures=tuple(network.architecture for network in file.networks),
            networks=tuple(network.metrics for network in file.networks),
            source=file.source, runtime=file.runtime, created=file.created,
            held_out=file.held_out, conditions=file.conditions,
        ),
        space,
        [f"networks[{number}]" for number in range(len(file.networks))],
    )  # fmt: skip


def _check_samples(samples: Mapping[str, Sample], where: str) -> None:
    if not samples:
        raise UserError(f"{where}: metrics must not be empty")
    for metric, sample in samples.items():
        choose(metric, METRICS, f"metric in {where}")
        check_sample(metric, sample, where, zero=True)
