"""Measuring given networks, comparably with a profile that was taken before.

Legend: `N` networks, `D` decisions.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hwnas_jax.config import ProfileConfig
from hwnas_jax.cost.files.environment import describe_device
from hwnas_jax.cost.files.measurements import Measurements, Origin, Sample, check_spec
from hwnas_jax.cost.measure.calls import compiled_calls
from hwnas_jax.cost.measure.device import check_same
from hwnas_jax.cost.measure.energy import EnergyMeter, measure_energy
from hwnas_jax.cost.measure.profile import deadline, timing_conditions
from hwnas_jax.cost.measure.runtimes import Runtime, make_runtime
from hwnas_jax.cost.measure.timing import StoppingRule, sample_interleaved
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Space

Progress = Callable[[int, int, str], None]

_EVERY, _EVERY_ALONE = 2, 8


@dataclasses.dataclass(frozen=True)
class Measured:
    """What networks cost when they were measured.

    Attributes:
      corrected: their costs at the speed that the device had when it was profiled.
      as_timed: their costs as the clock showed them.
      drift: how many times as long as in the profile the references took, the median over all.
      conditions: as in `Measurements.conditions`.
    """

    corrected: list[Sample]
    as_timed: list[Sample]
    drift: float
    conditions: dict[str, Any] = dataclasses.field(default_factory=dict)


def measure_networks(
    space: Space,
    architectures: np.ndarray,
    measurements: Measurements | None,
    config: ProfileConfig,
    *,
    seed: int,
    around_ms: float | None = None,
    references: int = 12,
    progress: Progress | None = None,
) -> Measured:
    """Times networks, with some networks of a measurement file as references in between.

    A shared or warm device changes its speed within seconds. Each timing is therefore divided by
    how much longer than in the file the references took at that moment.

    Args:
      space: the search space.
      architectures: `int32[N, D]`.
      measurements: of the same space, batch size, device and runtime. With None the networks are
        their own references, which shows how the speed changed but not since when.
      config: device, runtime and repetitions; at least `measure_rounds` of them.
      seed: of the orders.
      around_ms: the references are the networks of `measurements` nearest to this latency, since
        small and large networks do not slow down alike. None takes the median of the file.
      references: how many networks of `measurements` are timed again.
      progress: called with `(done, total, what)`.

    Raises:
      UserError: when the measurements are not comparable with a timing here and now.
    """
    started = time.perf_counter()
    report = progress or (lambda done, total, what: None)
    architectures = np.asarray(architectures, np.int32)
    runtime, count, usual_ms = make_runtime(config), len(architectures), None
    if measurements is not None:
        check_comparable(space, measurements, runtime, config.batch_size)
        chosen = _nearest(measurements, around_ms, references)
        architectures = np.concatenate([architectures, measurements.encoded(space)[chosen]])
        usual_ms = measurements.latencies_ms[chosen]
    calls, _ = compiled_calls(
        runtime, space, architectures, {}, config.batch_size,
        lambda done, total: report(done, total, "compiling"),
    )  # fmt: skip
    sampled = sample_interleaved(
        {str(number): call for number, call in enumerate(calls[:count])},
        StoppingRule(
            config.measure_rounds,
            max(config.measure_rounds, config.max_rounds),
            config.precision,
            deadline(started, config.budget_s),
        ),
        references=calls[:count] if measurements is None else calls[count:],
        usual_ms=usual_ms,
        every=_EVERY_ALONE if measurements is None else _EVERY,
        warmup=config.warmup,
        seed=seed,
        on_round=lambda done, most: report(done, most, "timing"),
    )
    conditions = timing_conditions(runtime, sampled, config.precision)
    if measurements is not None:
        conditions["disagreement"] = sampled.disagreement
        conditions["notes"].append(
            f"reference networks took {sampled.slowdown.median:.2f} times as long as in the "
            f"measurement file, and differed by {sampled.disagreement:.1%} in that: latencies at "
            "the speed of the file are no more exact"
        )
    return Measured(
        corrected=[sampled.corrected(str(number)) for number in range(count)],
        as_timed=[sampled.as_timed(str(number)) for number in range(count)],
        drift=sampled.slowdown.median,
        conditions=conditions,
    )


def measure_network_energies(
    space: Space,
    architectures: np.ndarray,
    config: ProfileConfig,
    *,
    seed: int,
    progress: Progress | None = None,
) -> Measured:
    """Measures the energy of networks, in millijoules per call.

    Args:
      space: the search space.
      architectures: `int32[N, D]`.
      config: device, runtime, batch size and the length of a stretch of calls.
      seed: of the orders.
      progress: called with `(done, total, what)`.

    Raises:
      UserError: when the device or its energy counter is not there.
    """
    report = progress or (lambda done, total, what: None)
    runtime = make_runtime(config)
    meter = EnergyMeter(runtime.device)
    calls, _ = compiled_calls(
        runtime, space, architectures, {}, config.batch_size,
        lambda done, total: report(done, total, "compiling"),
    )  # fmt: skip
    energies = measure_energy(
        calls, meter, seconds=config.energy_s, seed=seed,
        on_round=lambda done, most: report(done, most, "energy"),
    )  # fmt: skip
    return Measured(corrected=energies, as_timed=energies, drift=1.0)


def check_comparable(
    space: Space, measurements: Measurements, runtime: Runtime, batch_size: int
) -> None:
    """Raises UserError unless a timing here and now means the same as one of `measurements`."""
    check_spec(measurements.space, space, "the measurements")
    if not measurements.networks:
        raise UserError("the measurements hold no networks to compare with")
    check_origin(measurements.origin, runtime, batch_size)


def check_origin(origin: Origin, runtime: Runtime, batch_size: int) -> None:
    """Raises UserError unless a timing here and now means the same as costs of `origin`."""
    if origin.source != "measured":
        raise UserError(
            f"the figures of the measurement file are {origin.source}: timings here cannot "
            "be compared with them"
        )
    if origin.runtime != runtime.name:
        raise UserError(
            f"the measurements were taken with the runtime {origin.runtime!r}, "
            f"profile.runtime is {runtime.name!r}: figures of two runtimes are not compared; "
            f"profile with {runtime.name!r} first"
        )
    if origin.batch_size != batch_size:
        raise UserError(
            f"profile.batch_size = {batch_size}, but the measurements were taken with "
            f"{origin.batch_size}"
        )
    check_same(origin.device, describe_device(runtime.device))


def _nearest(measurements: Measurements, around_ms: float | None, count: int) -> np.ndarray:
    """Returns the rows of the measured networks nearest to a latency, by ratio."""
    latencies_ms = measurements.latencies_ms
    centre_ms = np.median(latencies_ms) if around_ms is None else around_ms
    return np.argsort(np.abs(np.log(latencies_ms / centre_ms)), kind="stable")[:count]
