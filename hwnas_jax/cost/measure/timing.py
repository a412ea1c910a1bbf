"""Times callables in such an order that a drift of the machine affects all of them alike.

Legend: `R` timings of one callable.
"""

import dataclasses
import functools
import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import scipy

from hwnas_jax.cost.files.measurements import Sample
from hwnas_jax.cost.measure.drift import Drift, Slowdown, disagreement, find_drift, running_slowdown

LEVEL = 0.95
"""The level of the confidence intervals."""

_LOOKS = 1.25
_STRETCH_S = 1e-3
_MOST_INNER_CALLS = 1000

Call = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class StoppingRule:
    """When to stop timing.

    Attributes:
      least: rounds that are always timed.
      most: rounds that are timed at most.
      precision: a median is precise when its confidence interval is narrower than this share of it.
      deadline_s: on the clock `time.perf_counter`. Once it has passed and the least rounds are
        done, no round begins.
    """

    least: int
    most: int
    precision: float
    deadline_s: float = math.inf

    def __post_init__(self):
        if self.least < 1 or self.most < self.least:
            raise ValueError(f"rounds must be positive, in order: {self.least} to {self.most}")


@dataclasses.dataclass(frozen=True)
class Series:
    """Timings of one callable.

    Attributes:
      at_s: `float64[R]`, when, in seconds since the first timing of all.
      ms: `float64[R]`, milliseconds per call, as the clock said.
    """

    at_s: np.ndarray
    ms: np.ndarray

    def corrected(self, slowdown: Slowdown) -> np.ndarray:
        """Returns `float64[R]`, milliseconds per call without the slowdown of the device."""
        return self.ms / slowdown.at(self.at_s)


@dataclasses.dataclass(frozen=True)
class Sampled:
    """What `sample_interleaved` found.

    Attributes:
      series: the timings of each callable.
      slowdown: how many times as long as usual the references took.
      drift: whether that changed meanwhile.
      widths: relative width of the confidence interval of each callable's median.
      disagreement: how much the references differ in their slowdown; zero where their usual times
        were not given.
    """

    series: dict[str, Series]
    slowdown: Slowdown
    drift: Drift
    widths: dict[str, float]
    disagreement: float = 0.0

    def corrected(self, name: str) -> Sample:
        """Returns the timing of a callable without the slowdown of the device."""
        return summarise(self.series[name].corrected(self.slowdown))

    def as_timed(self, name: str) -> Sample:
        """Returns the timing of a callable as the clock showed it."""
        return summarise(self.series[name].ms)

    def words(self, precision: float) -> str:
        """Returns a sentence on how many callables were timed to `precision`."""
        widths = np.array(list(self.widths.values()))
        rounds = [len(series.ms) for series in self.series.values()]
        fine = int((widths <= precision).sum())
        text = (
            f"{fine} of {len(widths)} medians are known to {precision:.1%} "
            f"({LEVEL:.0%} confidence) after {min(rounds)} to {max(rounds)} timings"
        )
        if fine == len(widths):
            return text
        worst = widths.max()
        rest = (
            "one has too few timings to tell" if math.isinf(worst) else f"the worst to {worst:.1%}"
        )
        return f"{text}, {rest}"


def sample_interleaved(
    calls: Mapping[str, Call],
    rule: StoppingRule,
    *,
    references: Sequence[Call] = (),
    usual_ms: np.ndarray | None = None,
    every: int = 8,
    warmup: int,
    seed: int,
    on_round: Callable[[int, int], None] | None = None,
) -> Sampled:
    """Times every callable once per round, each round in a fresh random order.

    A machine that changes its speed meanwhile does so for all callables alike, which keeps their
    comparison fair. References that are timed in between show by how much. Each timing follows one
    untimed call of the same function, and repeats the call until about a millisecond has passed.

    After the least rounds, only callables whose median is not yet precise are timed again. This is
    checked whenever the number of rounds has grown by a quarter. A check after every round would
    stop too early, at a round where the interval is narrow by chance.

    Args:
      calls: callables by name. Each result is waited for with `jax.block_until_ready`.
      rule: when to stop.
      references: callables that are timed in turn, one before every `every`-th timing.
      usual_ms: the usual time of each reference; None takes its own median.
      every: how many timings lie between two of references.
      warmup: untimed calls of each callable before the first round.
      seed: of the orders.
      on_round: called with `(rounds done, most rounds)` between rounds, and at the end with the
        number of rounds done for both.
    """
    if warmup < 0 or every < 1:
        raise ValueError(f"warmup must not be negative, every positive: {warmup}, {every}")
    names = list(calls)
    stretches = [_Stretch(calls[name], warmup) for name in names]
    reference_calls = [_Stretch(call, warmup) for call in references]
    turns: list[int] = []
    reference_rows: list[tuple[float, int, float]] = []
    rng = np.random.default_rng(seed)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    start = time.perf_counter()

    def take_reference() -> None:
        if not reference_calls:
            return
        if not turns:
            turns.extend(rng.permutation(len(reference_calls)).tolist())
        number = turns.pop()
        reference_calls[number].take(start)
        reference_rows.append(
            (reference_calls[number].at_s[-1], number, reference_calls[number].ms[-1])
        )

    pending, taken, done, look = list(range(len(names))), 0, 0, rule.least
    try:
        while pending:
            for i in rng.permutation(pending):
                if taken % every == 0:
                    take_reference()
                stretches[i].take(start)
                taken += 1
            done += 1
            if done >= look:
                look = math.ceil(_LOOKS * done)
                slowdown = running_slowdown(*_columns(reference_rows), usual_ms=usual_ms)
                pending = [
                    i for i in pending
                    if relative_width(stretches[i].series().corrected(slowdown)) > rule.precision
                ]  # fmt: skip
            if done >= rule.most:
                break
            if done >= rule.least and time.perf_counter() > rule.deadline_s:
                break
            if on_round is not None and pending:
                on_round(done, rule.most)
        take_reference()
    finally:
        if collecting:
            gc.enable()
    if on_round is not None:
        on_round(done, done)
    columns = _columns(reference_rows)
    slowdown = running_slowdown(*columns, usual_ms=usual_ms)
    series = {name: s.series() for name, s in zip(names, stretches, strict=True)}
    widths = {name: relative_width(part.corrected(slowdown)) for name, part in series.items()}
    apart = 0.0 if usual_ms is None or not reference_rows else disagreement(*columns[1:], usual_ms)
    return Sampled(series, slowdown, find_drift(*columns), widths, apart)


class _Stretch:
    """A callable with the number of calls per timing and its timings so far."""

    def __init__(self, call: Call, warmup: int):
        self.call = call
        for _ in range(warmup):
            jax.block_until_ready(call())
        quickest = min(self._seconds(1) for _ in range(3))
        self.repeats = min(_MOST_INNER_CALLS, math.ceil(_STRETCH_S / max(quickest, 1e-9)))
        self.at_s: list[float] = []
        self.ms: list[float] = []

    def take(self, start: float) -> None:
        """Times it once."""
        jax.block_until_ready(self.call())
        self.at_s.append(time.perf_counter() - start)
        self.ms.append(1e3 * self._seconds(self.repeats) / self.repeats)

    def series(self) -> Series:
        """Returns its timings."""
        return Series(np.array(self.at_s), np.array(self.ms))

    def _seconds(self, repeats: int) -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            jax.block_until_ready(self.call())
        return time.perf_counter() - start


def _columns(
    rows: Sequence[tuple[float, int, float]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    at_s, which, ms = zip(*rows, strict=True) if rows else ((), (), ())
    return np.array(at_s, float), np.array(which, int), np.array(ms, float)


def summarise(samples_ms: np.ndarray) -> Sample:
    """Returns the median and interquartile range of `samples_ms` (`float64[R]`)."""
    low, median, high = np.percentile(samples_ms, [25, 50, 75])
    return Sample(float(median), float(high - low), len(samples_ms))


def median_interval(samples: np.ndarray) -> tuple[float, float]:
    """Returns the confidence interval of the median between two order statistics.

    It holds the median with at least the probability `LEVEL`, whatever the distribution.

    Args:
      samples: `float64[R]`.

    Returns:
      Its ends. With fewer than six samples they are infinite: so few cannot bound a median.
    """
    rank = _rank(len(samples))
    if rank == 0:
        return -math.inf, math.inf
    ordered = np.sort(samples)
    return float(ordered[rank - 1]), float(ordered[-rank])


def relative_width(samples: np.ndarray) -> float:
    """Returns the width of the median's confidence interval relative to the median."""
    low, high = median_interval(samples)
    return (high - low) / float(np.median(samples)) if math.isfinite(low) else math.inf


@functools.cache
def _rank(count: int) -> int:
    """Returns the rank from either end at which the interval of `count` samples begins."""
    below = scipy.stats.binom.cdf(np.arange(count), count, 0.5)
    return int((below <= (1 - LEVEL) / 2).sum())
