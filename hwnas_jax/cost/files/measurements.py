"""The measurement file: what networks cost, on which device, with which software.

One JSON object, version 2:

    format      "hwnas_jax.measurements"
    version     2
    created     ISO 8601 time
    source      where the figures are from, one of `SOURCES`
    runtime     what ran the networks: "jax", "onnxruntime", "tflite", ...
    device      {platform, kind, count, host_cpu, cpu_count}; `kind` names it, the rest is optional
    software    versions by name
    units       what each metric counts
    batch_size  images per call
    space       Choices.spec of the search space
    operations  [{name, metrics}]
    networks    [{architecture: {decision: option}, metrics}]
    conditions  how it was measured, optional: {notes: sentences for people, ...}

`metrics` is `{metric: {median, iqr, repeats}}` with the metrics of `hwnas_jax.cost.METRICS`:
the median over `repeats` rounds and their interquartile range. Every network has the same metrics.
The same content as plain text is described in `hwnas_jax.cost.files.plain_text`.

Legend: `N` networks, `D` decisions.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import jax
import numpy as np

from hwnas_jax.cost.files.observations import METRICS, Observations
from hwnas_jax.cost.files.unit_checks import check_units
from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core.published import choices_from_spec

FORMAT = "hwnas_jax.measurements"
VERSION = 2
SOURCES = ("measured", "compiler estimate", "simulated", "published")
"""Where a figure may be from; only the first was taken from a device that ran."""

_FREE = frozenset({"cycles", "macs", "flops", "params"})


@dataclasses.dataclass(frozen=True)
class Sample:
    """One quantity over several rounds, in the unit of its metric.

    Attributes:
      median: over the rounds.
      iqr: interquartile range over the rounds.
      repeats: how many rounds.
    """

    median: float
    iqr: float = 0.0
    repeats: int = 1


@dataclasses.dataclass(frozen=True)
class Measurements:
    """What a space's operations and a sample of its networks cost on one device.

    Attributes:
      device: `{platform, kind, count, host_cpu, cpu_count}`, or what is known of them.
      software: versions by name.
      batch_size: images per call.
      space: `Choices.spec`.
      operations: by operation name the sample of each metric.
      architectures: `{decision: option}` of each network.
      networks: of each of `architectures` the sample of each metric.
      source: one of `SOURCES`.
      runtime: what ran the networks.
      created: ISO 8601 time.
      conditions: how it was measured: `notes`, sentences for people, and what the runtime was
        told, how far the device drifted and what it draws when idle, as plain JSON values.
    """

    device: dict[str, Any]
    software: dict[str, str]
    batch_size: int
    space: dict[str, Any]
    operations: dict[str, dict[str, Sample]]
    architectures: tuple[dict[str, str], ...]
    networks: tuple[dict[str, Sample], ...]
    source: str = "measured"
    runtime: str = "jax"
    created: str = dataclasses.field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )
    conditions: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of how it was measured, a sentence each."""
        return tuple(self.conditions.get("notes", ()))

    @property
    def metrics(self) -> tuple[str, ...]:
        """What was observed of every network."""
        return tuple(self.networks[0]) if self.networks else ()

    def medians(self, metric: str) -> np.ndarray:
        """Returns the median of a metric of each network, `float64[N]`."""
        return np.array([samples[metric].median for samples in self.networks], float)

    @property
    def latencies_ms(self) -> np.ndarray:
        """`float64[N]`, the median latency of each network."""
        return self.medians("latency_ms")

    def encoded(self, space: Choices) -> np.ndarray:
        """Returns the observed networks as `int32[N, D]`.

        Raises:
          UserError: when the measurements are of another space.
        """
        check_spec(self.space, space, "the measurements")
        rows = [space.from_names(names) for names in self.architectures]
        return np.array(rows, np.int32).reshape(len(rows), space.num_decisions)

    def observations(self, space: Choices) -> Observations:
        """Returns what a cost model is fitted to.

        Raises:
          UserError: when the measurements are of another space.
        """
        return Observations(
            self.encoded(space),
            {metric: self.medians(metric) for metric in self.metrics},
            {
                name: {metric: sample.median for metric, sample in samples.items()}
                for name, samples in self.operations.items()
            },
        )

    def save(self, path: Path) -> None:
        """Writes the file whole or not at all; plain text where its name ends in `.csv`."""
        path = Path(path)
        if path.suffix == ".csv":
            from hwnas_jax.cost.files.plain_text import to_text

            text = to_text(self)
        else:
            text = json.dumps(self._payload(), indent=1, allow_nan=False) + "\n"
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _payload(self):
        rows = [*self.operations.values(), *self.networks]
        used = [metric for metric in METRICS if any(metric in row for row in rows)]
        return {
            "format": FORMAT,
            "version": VERSION,
            "created": self.created,
            "source": self.source,
            "runtime": self.runtime,
            "device": self.device,
            "software": self.software,
            "units": {metric: METRICS[metric] for metric in used},
            "batch_size": self.batch_size,
            "space": self.space,
            "operations": [
                {"name": name, "metrics": _plain(samples)}
                for name, samples in self.operations.items()
            ],
            "networks": [
                {"architecture": names, "metrics": _plain(samples)}
                for names, samples in zip(self.architectures, self.networks, strict=True)
            ],
            **({"conditions": self.conditions} if self.conditions else {}),
        }


def _plain(samples):
    return {metric: dataclasses.asdict(sample) for metric, sample in samples.items()}


def check_spec(spec: Any, space: Choices, what: str) -> None:
    """Raises UserError when `spec` is not that of `space`; `what` names the thing that has it."""
    if spec != space.spec:
        raise UserError(f"{what} belong to the space {spec}, not to {space.spec}")


def describe_device(device: jax.Device | None = None) -> dict[str, Any]:
    """Returns what identifies a JAX device, the default one when left out, and its host."""
    device = jax.devices()[0] if device is None else device
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": jax.device_count(device.platform),
        "host_cpu": _host_cpu(),
        "cpu_count": os.cpu_count(),
    }


def _host_cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe_software(*more: str) -> dict[str, str]:
    """Returns the versions that a latency depends on, and those of `more` packages."""
    versions = {"python": platform.python_version()}
    for name in ("jax", "jaxlib", "flax", "hwnas_jax", *more):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def load_measurements(
    path: Path,
    space: Choices | None = None,
    *,
    device: str | None = None,
    batch_size: int | None = None,
) -> Measurements:
    """Reads a measurement file, JSON or (by its suffix `.csv`) plain text, and checks every row.

    Args:
      path: the file.
      space: the space it must belong to; None takes the space that the file names.
      device: for plain text that does not name its device.
      batch_size: likewise, images per call.

    Raises:
      UserError: names the file, the row and what is wrong with it.
    """
    path = Path(path)
    try:
        if path.suffix == ".csv":
            from hwnas_jax.cost.files.plain_text import parse_text

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


def _parse(payload: dict[str, Any], space: Choices | None) -> Measurements:
    kinds = {
        "created": str, "source": str, "runtime": str, "device": dict, "software": dict,
        "batch_size": int, "space": dict, "operations": list, "networks": list,
    }  # fmt: skip
    for key, kind in kinds.items():
        if not isinstance(payload.get(key), kind):
            raise UserError(f"{key} must be a {kind.__name__}, got {payload.get(key)!r}")
    conditions = payload.get("conditions", {})
    if not isinstance(conditions, dict):
        raise UserError(f"conditions must be a dict, got {conditions!r}")
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
    return check_measurements(
        Measurements(
            operations=operations,
            architectures=tuple(architectures),
            networks=tuple(networks),
            conditions=conditions,
            **{key: payload[key] for key in kinds if key not in ("operations", "networks")},
        ),
        space,
    )


def check_measurements(
    measurements: Measurements, space: Choices, rows: Sequence[str] | None = None
) -> Measurements:
    """Returns `measurements` when they can be believed.

    Args:
      measurements: as read from a file; the architectures must be of `space`.
      space: whose networks they are.
      rows: what each network is called in messages; "network 1" and so on when left out.

    Raises:
      UserError: names the row with a value that no cost can be, a metric that other rows have
        or lack, an architecture that stands there twice, or a unit that is plainly wrong.
    """
    if isinstance(measurements.batch_size, bool) or measurements.batch_size < 1:
        raise UserError(f"batch_size must be positive, got {measurements.batch_size!r}")
    choose(measurements.source, SOURCES, "source")
    if rows is None:
        rows = [f"network {number}" for number in range(1, len(measurements.networks) + 1)]
    for name, samples in measurements.operations.items():
        for metric, sample in samples.items():
            _check_sample(metric, sample, f"operation {name!r}", free=metric in _FREE)
    seen: dict[tuple[str, ...], int] = {}
    names = [decision.name for decision in space.decisions]
    for number, (architecture, samples) in enumerate(
        zip(measurements.architectures, measurements.networks, strict=True)
    ):
        for metric, sample in samples.items():
            _check_sample(metric, sample, rows[number])
        different = samples.keys() ^ measurements.networks[0].keys()
        if different:
            raise UserError(
                f"{rows[number]}: {rows[0]} has {', '.join(measurements.networks[0])}, "
                f"this one has {', '.join(samples)}; all must have the same metrics"
            )
        first = seen.setdefault(tuple(architecture[name] for name in names), number)
        if first != number:
            raise UserError(
                f"{rows[number]} is the same architecture as {rows[first]} "
                f"({_shown(samples)}, and {_shown(measurements.networks[first])}): keep one"
            )
    check_units(measurements, space, rows)
    return measurements


def _shown(samples):
    return ", ".join(f"{metric} {sample.median:.6g}" for metric, sample in samples.items())


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
        _check_sample(metric, samples[metric], where, free=True)
    return samples


def _check_sample(metric: str, sample: Sample, where: str, *, free: bool = False) -> None:
    if not _is_number(sample.median) or sample.median < 0 or (sample.median == 0 and not free):
        raise UserError(f"{where}: {metric} must be positive and finite, got {sample.median!r}")
    if not _is_number(sample.iqr) or sample.iqr < 0:
        raise UserError(
            f"{where}: the spread of {metric} must be finite, not negative, got {sample.iqr!r}"
        )
    if not isinstance(sample.repeats, int) or isinstance(sample.repeats, bool):
        raise UserError(f"{where}: repeats must be a whole number, got {sample.repeats!r}")
    if sample.repeats < 1:
        raise UserError(f"{where}: repeats must be positive, got {sample.repeats!r}")


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
