"""What a cost model is fitted to: architectures and what each was found to cost.

Legend: `N` networks, `D` decisions, `V` devices.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Choices

METRICS = {
    "latency_ms": "milliseconds per call",
    "energy_mj": "millijoules per call",
    "peak_memory_mib": "mebibytes at the peak",
    "area_mm2": "square millimetres of silicon",
    "edp_mj_ms": "energy-delay product, millijoules times milliseconds",
    "edap_mj_ms_mm2": "energy-delay-area product, mJ times ms times square millimetres",
    "cycles": "clock cycles per call",
    "macs": "multiply-accumulates per image",
    "flops": "floating-point operations per image",
    "params": "trainable parameters",
    "bit_operations": "products of single bits per image",
    "size_kib": "kibibytes of stored parameters",
}
"""The costs that files and models may speak of, and what each counts."""

_UNITS = ("ms", "mj", "mib", "kib", "mm2")


def unit(metric: str) -> str:
    """Returns the unit in a metric's name; a count is its own unit.

    >>> unit("latency_ms"), unit("bit_operations")
    ('ms', 'bit operations')
    """
    name, _, tail = metric.rpartition("_")
    return tail if name and tail in _UNITS else metric.replace("_", " ")


def checked_metrics(names: Any) -> tuple[str, ...]:
    """Returns the metrics that a model's file names; raises UserError for an unknown name."""
    if not isinstance(names, list) or not names:
        raise UserError(f"metrics must be a list of names, got {names!r}")
    return tuple(choose(str(name), METRICS, "metric") for name in names)


@dataclasses.dataclass(frozen=True)
class Observations:
    """Costs of a sample of networks on one device.

    Attributes:
      architectures: `int32[N, D]`.
      values: `float64[N]` by metric of `METRICS`, finite and positive.
      operations: the value of each metric by operation name, where operations were observed too.
      held_out: how many networks, the last ones, are only for judging cost models; zero where
        none were set aside.
    """

    architectures: np.ndarray
    values: Mapping[str, np.ndarray]
    operations: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    held_out: int = 0

    @property
    def metrics(self) -> tuple[str, ...]:
        """What was observed."""
        return tuple(self.values)

    def __len__(self) -> int:
        return len(self.architectures)

    def subset(self, rows: np.ndarray) -> "Observations":
        """Returns only the networks `rows` (`int[n]` or `bool[N]`), none of them held out."""
        values = {metric: column[rows] for metric, column in self.values.items()}
        return Observations(self.architectures[rows], values, self.operations)

    def sample(self, count: int, seed: int) -> "Observations":
        """Returns `count` networks drawn at random, none of them held out.

        Raises:
          UserError: when there are fewer, or none is asked for.
        """
        if not 1 <= count <= len(self):
            raise UserError(
                f"a sample of {count} networks was asked for: allowed are 1 to {len(self)}"
            )
        return self.subset(np.random.default_rng(seed).permutation(len(self))[:count])

    def require(self, least: int, what: str) -> None:
        """Raises UserError for too few networks, or for a value that no cost can have.

        Args:
          least: how many networks there must be.
          what: names what needs them ("the linear cost model").
        """
        if len(self) < least:
            raise UserError(f"{what} needs {least} measured networks, there are {len(self)}")
        for metric, column in self.values.items():
            bad = np.flatnonzero(~(np.isfinite(column) & (column > 0)))
            if len(bad):
                raise UserError(
                    f"{what} needs a positive {metric}; network [{bad[0]}] has {column[bad[0]]}"
                )


@dataclasses.dataclass(frozen=True)
class CostTable:
    """A published table: costs of many architectures on several devices.

    Attributes:
      source: where it comes from, for people.
      space: the space of the architectures.
      architectures: `int32[N, D]`.
      devices: names.
      values: `float64[V, N]` by metric; NaN where a device lacks a value.
      splits: named lists of devices, such as `train` and `test`.
      notes: sentences on what the reader of the file found, for people.
      references: rows of the architectures by which the table's authors describe a device; empty
        where they name none.
    """

    source: str
    space: Choices
    architectures: np.ndarray
    devices: tuple[str, ...]
    values: Mapping[str, np.ndarray]
    splits: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    references: tuple[int, ...] = ()

    def row(self, device: str) -> int:
        """Returns the row of a device in `values`; raises UserError for an unknown device."""
        return self.devices.index(choose(device, self.devices, f"device of {self.source}"))

    def observations(self, device: str, rows: np.ndarray | None = None) -> Observations:
        """Returns what networks cost on one device, without the networks it has no value of.

        Args:
          device: its name.
          rows: `int[n]`, the architectures to take; None takes all.
        """
        number = self.row(device)
        rows = np.arange(len(self.architectures)) if rows is None else np.asarray(rows)
        known = {metric: table[number, rows] for metric, table in self.values.items()}
        known = {metric: column for metric, column in known.items() if not np.isnan(column).all()}
        whole = np.ones(len(rows), bool)
        for column in known.values():
            whole &= ~np.isnan(column)
        return Observations(
            self.architectures[rows[whole]],
            {metric: column[whole].astype(float) for metric, column in known.items()},
        )
