"""What networks cost, on which device, with which software.

`hwnas_jax.cost.files.measurement_file` writes and reads them.

Legend: `N` networks, `D` decisions.
"""

import dataclasses
import datetime
from typing import Any

import numpy as np

from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.errors import UserError, shortened
from hwnas_jax.spaces.base import Choices

VERSION = 2
"""Of the measurement file, in both of its forms."""

SOURCES = ("measured", "compiler estimate", "simulated", "published")
"""Where a figure may come from. Only "measured" figures were taken from a device that ran."""

_LONGEST, _LISTED = 400, 20
"""Most characters of a foreign space, and most differences, that a message repeats."""


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
class Origin:
    """Which device costs are of, and how they were taken.

    Attributes:
      device: as in `Measurements`.
      runtime: what ran the networks.
      batch_size: images per call.
      source: one of `SOURCES`.
    """

    device: dict[str, Any]
    runtime: str = "unknown"
    batch_size: int = 1
    source: str = "measured"

    @property
    def name(self) -> str:
        """What the device is called."""
        return str(self.device.get("kind") or self.device.get("platform") or "an unnamed device")


@dataclasses.dataclass(frozen=True)
class Measurements:
    """What a space's operations and a sample of its networks cost on one device.

    Attributes:
      device: `{platform, kind, count, host_cpu, cpu_count}`, or as much of that as is known.
      software: versions by name.
      batch_size: images per call.
      space: `Choices.spec`.
      operations: the sample of each metric, by operation name.
      architectures: `{decision: option}` of each network.
      networks: the sample of each metric, for each of `architectures`.
      source: one of `SOURCES`.
      runtime: what ran the networks.
      created: ISO 8601 time.
      held_out: how many networks, the last ones, were drawn at random in order to judge cost
        models. Zero where none were set aside.
      conditions: how the figures were taken. `notes` are sentences for people; the rest are plain
        JSON values: the runtime's options, how far the device drifted, its power when idle.
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
    held_out: int = 0
    conditions: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def origin(self) -> Origin:
        """Which device the costs are of, and how they were taken."""
        return Origin(self.device, self.runtime, self.batch_size, self.source)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on how the figures were taken, for people."""
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
        """The median latency of each network, `float64[N]`."""
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
            held_out=self.held_out,
        )


def check_spec(spec: Any, space: Choices, what: str) -> None:
    """Raises UserError when `spec` is not that of `space`; `what` names the thing that has it."""
    if spec == space.spec:
        return
    own, given = _flat(space.spec), _flat(spec if isinstance(spec, dict) else {})
    differ = [
        f"{shortened(key)} {shortened(given.get(key, 'unsaid'))} and {own.get(key, 'unsaid')}"
        for key in dict.fromkeys([*given, *own])
        if given.get(key) != own.get(key)
    ]
    raise UserError(
        f"{what} belong to the space {shortened(spec, _LONGEST)}, not to {space.spec}; these "
        f"differ: {'; '.join(differ[:_LISTED])}"
    )


def _flat(spec: dict[str, Any]) -> dict[str, Any]:
    """Returns the parts of a space's description, its own options beside the rest."""
    args = spec.get("args")
    return {**spec, **args, "args": None} if isinstance(args, dict) else spec
