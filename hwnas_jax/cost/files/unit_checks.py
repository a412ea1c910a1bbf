"""Refuses figures in a wrong unit, judged by the work that the networks do.

No unit is ever guessed and corrected. The bounds are wide because an honest figure must never be
refused: a microcontroller does 1e6 multiply-accumulates a second, a large accelerator 1e15, and
the call itself may take a second.

Legend: `N` architectures, `D` decisions.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from hwnas_jax.cost.files.measurements import Measurements
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices, Space
from hwnas_jax.spaces.core.terms import Terms, sum_terms

_MACS_PER_S = (1e5, 1e15)
# For a CPU that runs JAX in float32. The most that a core can do is two vector units of 16 lanes at
# 5 GHz, twice over.
_CPU_LEAST_MACS_PER_S, _CORE_MOST_MACS_PER_S = 3e7, 3e11
_CALL_S = 1.0
_PARTS_RATIO = 200.0
_ROW_RATIO = 300.0


def check_units(measurements: Measurements, space: Choices, rows: Sequence[str]) -> None:
    """Refuses latencies of a measurement file that are plainly in another unit.

    Args:
      measurements: of `space`.
      space: the search space of the networks.
      rows: what each network is called in messages.

    Raises:
      UserError: names the latency of the file or of the row, and what it would mean.
    """
    if "latency_ms" not in measurements.metrics:
        return
    latencies_ms, architectures = measurements.latencies_ms, measurements.encoded(space)
    believed = _MACS_PER_S
    if measurements.source == "measured" and measurements.device.get("platform") == "cpu":
        cores = measurements.device.get("cpu_count")
        if isinstance(cores, int) and cores > 0:
            believed = _CPU_LEAST_MACS_PER_S, cores * _CORE_MOST_MACS_PER_S
    check_latencies(
        space, architectures, latencies_ms,
        rows=rows, batch_size=measurements.batch_size, macs_per_s=believed,
    )  # fmt: skip
    parts = {
        name: samples["latency_ms"].median
        for name, samples in measurements.operations.items()
        if "latency_ms" in samples
    }
    connected = ~disconnected(space, architectures)
    if not parts or not connected.any() or not isinstance(space, Space):
        return
    if any(place.operation not in parts for place in space.operations()[1]):
        return
    ratio = (latencies_ms / _sums(space, architectures, parts))[connected]
    if not 1 / _PARTS_RATIO < np.median(ratio) < _PARTS_RATIO:
        raise UserError(
            f"networks take {np.median(ratio):.3g} times as long as their operations together: "
            "one of the two is not in milliseconds"
        )


def check_latencies(
    space: Choices,
    architectures: np.ndarray,
    latencies_ms: np.ndarray,
    *,
    rows: Sequence[str],
    batch_size: int = 1,
    macs_per_s: tuple[float, float] = _MACS_PER_S,
) -> None:
    """Refuses latencies that no device could have, judged by the work that the networks do.

    Networks that compute nothing are not judged, nor are spaces whose operations are unknown here.

    Args:
      space: the space of the architectures.
      architectures: `int32[N, D]`.
      latencies_ms: `float64[N]`, positive.
      rows: what each is called in messages.
      batch_size: images per call.
      macs_per_s: the least and the most multiply-accumulates per second that are believed.

    Raises:
      UserError: when all latencies are impossible, or one row is far from all others.
    """
    if not isinstance(space, Space):
        return
    connected = np.flatnonzero(~disconnected(space, architectures))
    if not len(connected):
        return
    work = running_macs(space, architectures[connected])
    spent_s = 1e-3 * latencies_ms[connected]
    rate = batch_size * work / spent_s
    middle = float(np.median(rate))
    least, most = macs_per_s
    slow = float(np.median(spent_s - batch_size * work / least)) > _CALL_S
    if middle > most or slow:
        unit = "microseconds or nanoseconds" if slow else "seconds"
        raise UserError(
            f"latency_ms is {np.median(latencies_ms[connected]):.3g} in the middle, which means "
            f"{middle:.1e} multiply-accumulates a second; believed are {least:.0e} to {most:.0e}. "
            f"Are these {unit}? latency_ms counts milliseconds per call"
        )
    factor = rate / middle
    far = np.flatnonzero((factor > _ROW_RATIO) | (factor < 1 / _ROW_RATIO))
    if len(far):
        row = connected[far[0]]
        times = max(factor[far[0]], 1 / factor[far[0]])
        word = "quicker" if factor[far[0]] > 1 else "slower"
        raise UserError(
            f"{rows[row]}: latency_ms {latencies_ms[row]:.6g} is {times:.0f} times {word} for its "
            "work than in the middle of the file; is it in another unit?"
        )


def disconnected(space: Choices, architectures: np.ndarray) -> np.ndarray:
    """Returns which architectures (`int[N, D]`) have no path from input to output, `bool[N]`.

    That can happen only in spaces where every decision offers `none`.
    """
    closed = [d.options.index("none") if "none" in d.options else -1 for d in space.decisions]
    if -1 in closed:
        return np.zeros(len(architectures), bool)
    return (space.canonical(np.asarray(architectures, np.int32)) == closed).all(axis=1)


_COUNTED: dict[str, tuple[Terms, Terms]] = {}


def running_macs(space: Space, architectures: np.ndarray) -> np.ndarray:
    """Returns the multiply-accumulates of the operations that run, `float64[N]`."""
    return _add(space, architectures, _counted(space)[0])


def running_operations(space: Space, architectures: np.ndarray) -> np.ndarray:
    """Returns how many operations run, `float64[N]`."""
    return _add(space, architectures, _counted(space)[1])


def _counted(space: Space) -> tuple[Terms, Terms]:
    """Returns the multiply-accumulates of every place, and a one for every place."""
    key = json.dumps(space.spec, sort_keys=True)
    if key not in _COUNTED:  # counting builds every operation, and tables ask once for each device
        operations = space.operations()[0]
        macs = {name: float(part.macs) for name, part in operations.items()}
        _COUNTED[key] = sum_terms(space, macs), sum_terms(space, dict.fromkeys(operations, 1.0))
    return _COUNTED[key]


def _sums(space: Space, architectures: np.ndarray, values: Mapping[str, float]) -> np.ndarray:
    """Returns the sum of `values` over the operations that run, `float64[N]`."""
    return _add(space, architectures, sum_terms(space, values))


def _add(space: Space, architectures: np.ndarray, terms: Terms) -> np.ndarray:
    running = space.canonical(architectures)
    size = space.num_decisions * space.num_options
    chosen = np.zeros((len(running), size + 1), bool)
    chosen[:, size] = True
    places = running + space.num_options * np.arange(space.num_decisions)
    np.put_along_axis(chosen, places, True, axis=1)
    total = np.zeros(len(running))
    for value, conditions in zip(
        np.asarray(terms.values, float), np.asarray(terms.index), strict=True
    ):
        total += value * chosen[:, conditions].all(axis=1)
    return total
