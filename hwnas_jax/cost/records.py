"""The measurement file: what was timed, on which device, with which software.

One JSON object, version 1; latencies are milliseconds per call of `batch_size` images:

    format      "hwnas_jax.measurements"
    version     1
    created     ISO 8601 time
    device      {platform, kind, count, host_cpu, cpu_count}
    software    {python, jax, jaxlib, flax, hwnas_jax}
    units       {"latency_ms": "milliseconds per call of batch_size images"}
    batch_size  images per call
    space       Space.spec of the search space
    operations  [{name, latency_ms, latency_iqr_ms, repeats}]
    networks    [{architecture: {decision: option}, latency_ms, latency_iqr_ms, repeats}]

`latency_ms` is the median over `repeats` rounds, `latency_iqr_ms` their interquartile range.

Legend: `N` networks, `D` decisions.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import math
import os
import platform
from pathlib import Path
from typing import Any, TypeGuard

import jax
import numpy as np

from hwnas_jax import spaces
from hwnas_jax.cost.observations import Observations
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices, Space

_FORMAT = "hwnas_jax.measurements"
_VERSION = 1
_UNITS = {"latency_ms": "milliseconds per call of batch_size images"}


@dataclasses.dataclass(frozen=True)
class Timing:
    """One timed callable.

    Attributes:
      latency_ms: median over the rounds, milliseconds per call.
      latency_iqr_ms: interquartile range over the rounds.
      repeats: how many rounds.
    """

    latency_ms: float
    latency_iqr_ms: float
    repeats: int


@dataclasses.dataclass(frozen=True)
class Measurements:
    """Timings of a space's operations and of a sample of its networks on one device.

    Attributes:
      device: `{platform, kind, count, host_cpu, cpu_count}`.
      software: versions by name.
      batch_size: images per timed call.
      space: `Space.spec`.
      operations: timings by operation name.
      architectures: `{decision: option}` of each timed network.
      networks: the timing of each of `architectures`.
      created: ISO 8601 time.
    """

    device: dict[str, Any]
    software: dict[str, str]
    batch_size: int
    space: dict[str, Any]
    operations: dict[str, Timing]
    architectures: tuple[dict[str, str], ...]
    networks: tuple[Timing, ...]
    created: str = dataclasses.field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )

    @property
    def latencies_ms(self) -> np.ndarray:
        """`float64[N]`, the median latency of each network."""
        return np.array([timing.latency_ms for timing in self.networks], float)

    def encoded(self, space: Space) -> np.ndarray:
        """Returns the timed networks as `int32[N, D]`.

        Raises:
          UserError: when the measurements are of another space.
        """
        check_spec(self.space, space, "the measurements")
        rows = [space.from_names(names) for names in self.architectures]
        return np.array(rows, np.int32).reshape(len(rows), space.num_decisions)

    def observations(self, space: Space) -> Observations:
        """Returns what a cost model is fitted to.

        Raises:
          UserError: when the measurements are of another space.
        """
        return Observations(
            self.encoded(space),
            {"latency_ms": self.latencies_ms},
            {name: {"latency_ms": timing.latency_ms} for name, timing in self.operations.items()},
        )

    def save(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        payload = {
            "format": _FORMAT,
            "version": _VERSION,
            "created": self.created,
            "device": self.device,
            "software": self.software,
            "units": _UNITS,
            "batch_size": self.batch_size,
            "space": self.space,
            "operations": [
                {"name": name, **dataclasses.asdict(timing)}
                for name, timing in self.operations.items()
            ],
            "networks": [
                {"architecture": names, **dataclasses.asdict(timing)}
                for names, timing in zip(self.architectures, self.networks, strict=True)
            ],
        }
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps(payload, indent=1, allow_nan=False) + "\n")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def check_spec(spec: Any, space: Choices, what: str) -> None:
    """Raises UserError when `spec` is not that of `space`; `what` names the thing that has it."""
    if spec != space.spec:
        raise UserError(f"{what} belong to the space {spec}, not to {space.spec}")


def describe_device() -> dict[str, Any]:
    """Returns what identifies the default JAX device and its host."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": jax.device_count(),
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


def load_measurements(path: Path, space: Space | None = None) -> Measurements:
    """Reads a measurement file and checks every row.

    Args:
      path: the file.
      space: the space it must belong to; None rebuilds the space that the file names.

    Raises:
      UserError: names the file and what is wrong with it.
    """
    path = Path(path)
    try:
        payload = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read measurements {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"measurements {path} are damaged: {error}") from error
    if not isinstance(payload, dict) or payload.get("format") != _FORMAT:
        raise UserError(f"{path} is not a {_FORMAT} file")
    if payload.get("version") != _VERSION:
        raise UserError(f"{path} has version {payload.get('version')!r}; known is {_VERSION}")
    try:
        return _parse(payload, space)
    except UserError as error:
        raise UserError(f"measurements {path}: {error}") from error


def _parse(payload: dict[str, Any], space: Space | None) -> Measurements:
    kinds = {
        "created": str, "device": dict, "software": dict, "batch_size": int, "space": dict,
        "operations": list, "networks": list,
    }  # fmt: skip
    for key, kind in kinds.items():
        if not isinstance(payload.get(key), kind):
            raise UserError(f"{key} must be a {kind.__name__}, got {payload.get(key)!r}")
    if isinstance(payload["batch_size"], bool) or payload["batch_size"] < 1:
        raise UserError(f"batch_size must be positive, got {payload['batch_size']!r}")
    if space is None:
        space = spaces.from_spec(payload["space"])
    check_spec(payload["space"], space, "they")
    operations = {}
    for number, row in enumerate(payload["operations"], 1):
        where = f"operation {number}"
        timing = _timing(row, where)
        if not isinstance(row.get("name"), str) or row["name"] in operations:
            raise UserError(f"{where}: name must be a new text, got {row.get('name')!r}")
        operations[row["name"]] = timing
    architectures, networks = [], []
    for number, row in enumerate(payload["networks"], 1):
        where = f"network {number}"
        networks.append(_timing(row, where))
        names = row.get("architecture")
        if not isinstance(names, dict):
            raise UserError(f"{where}: architecture must be a table of names, got {names!r}")
        try:
            space.from_names(names)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        architectures.append(names)
    return Measurements(
        device=payload["device"],
        software=payload["software"],
        batch_size=payload["batch_size"],
        space=payload["space"],
        operations=operations,
        architectures=tuple(architectures),
        networks=tuple(networks),
        created=payload["created"],
    )


def _timing(row: Any, where: str) -> Timing:
    if not isinstance(row, dict):
        raise UserError(f"{where}: must be a table of keys, got {row!r}")
    latency, spread, repeats = (row.get(key) for key in ("latency_ms", "latency_iqr_ms", "repeats"))
    if not _is_number(latency) or latency <= 0:
        raise UserError(f"{where}: latency_ms must be positive and finite, got {latency!r}")
    if not _is_number(spread) or spread < 0:
        raise UserError(f"{where}: latency_iqr_ms must be finite, not negative, got {spread!r}")
    if not isinstance(repeats, int) or isinstance(repeats, bool) or repeats < 1:
        raise UserError(f"{where}: repeats must be a positive integer, got {repeats!r}")
    return Timing(float(latency), float(spread), repeats)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
