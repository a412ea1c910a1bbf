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
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas_jax.cost.files.check import check_measurements, check_sample
from hwnas_jax.cost.files.measurements import Measurements, Sample, check_spec
from hwnas_jax.cost.files.observations import METRICS
from hwnas_jax.cost.files.plain_text import VERSION, parse_text, to_text
from hwnas_jax.errors import UserError, choose
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
    if path.suffix == ".csv":
        text = to_text(measurements)
    else:
        text = json.dumps(_payload(measurements), indent=1, allow_nan=False) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_measurements(
    path: Path,
    space: Choices | None = None,
    *,
    device: str | None = None,
    batch_size: int | None = None,
) -> Measurements:
    """Reads a measurement file and checks every row.

    Args:
      path: the file. It is read as plain text where the name ends in `.csv`, as JSON otherwise.
      space: the space it must belong to; None takes the space that the file names.
      device: names the device of a plain text file that does not.
      batch_size: images per call, for a plain text file that does not say.

    Raises:
      UserError: names the file, the row and what is wrong with it.
    """
    path = Path(path)
    try:
        if path.suffix == ".csv":
            return parse_text(
                path.read_text(encoding="utf-8-sig"), space, device=device, batch_size=batch_size
            )
        payload = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read measurements {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"measurements {path} are damaged: {error}") from error
    except UserError as error:
        raise UserError(f"measurements {path}: {error}") from error
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise UserError(f"{path} is not a {FORMAT} file")
    if payload.get("version") != VERSION:
        raise UserError(f"{path} has version {payload.get('version')!r}; known is {VERSION}")
    try:
        return _parse(payload, space)
    except UserError as error:
        raise UserError(f"measurements {path}: {error}") from error


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


def _parse(payload: dict[str, Any], space: Choices | None) -> Measurements:
    kinds = {
        "created": str, "source": str, "runtime": str, "device": dict, "software": dict,
        "batch_size": int, "space": dict, "operations": list, "networks": list,
    }  # fmt: skip
    payload = {"held_out": 0, "conditions": {}, **payload}
    for key, kind in {**kinds, "held_out": int, "conditions": dict}.items():
        if not isinstance(payload.get(key), kind):
            raise UserError(f"{key} must be a {kind.__name__}, got {payload.get(key)!r}")
    if space is None:
        space = choices_from_spec(payload["space"])
    check_spec(payload["space"], space, "they")
    operations: dict[str, dict[str, Sample]] = {}
    for number, row in enumerate(payload["operations"], 1):
        where = f"operation {number}"
        samples = _samples(row, where)
        if not isinstance(row.get("name"), str) or row["name"] in operations:
            raise UserError(f"{where}: name must be a new text, got {row.get('name')!r}")
        operations[row["name"]] = samples
    architectures, networks = [], []
    for number, row in enumerate(payload["networks"], 1):
        where = f"network {number}"
        networks.append(_samples(row, where))
        names = row.get("architecture")
        if not isinstance(names, dict):
            raise UserError(f"{where}: architecture must be a table of names, got {names!r}")
        try:
            space.from_names(names)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        architectures.append(names)
    rest = {key: payload[key] for key in kinds if key not in ("operations", "networks")}
    return check_measurements(
        Measurements(
            operations=operations,
            architectures=tuple(architectures),
            networks=tuple(networks),
            held_out=payload["held_out"],
            conditions=payload["conditions"],
            **rest,
        ),
        space,
    )


def _samples(row: Any, where: str) -> dict[str, Sample]:
    if not isinstance(row, dict) or not isinstance(row.get("metrics"), dict) or not row["metrics"]:
        raise UserError(f"{where}: must be a table of keys with metrics, got {row!r}")
    samples = {}
    for metric, values in row["metrics"].items():
        choose(metric, METRICS, f"metric in {where}")
        if not isinstance(values, dict):
            raise UserError(f"{where}: {metric} must hold median, iqr, repeats; got {values!r}")
        given = {field.name: values.get(field.name) for field in dataclasses.fields(Sample)}
        samples[metric] = Sample(**given)  # type: ignore[arg-type]
        check_sample(metric, samples[metric], where, zero=True)
    return samples
