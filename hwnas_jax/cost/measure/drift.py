"""How a device slows down while it is timed, as reference networks timed in between show.

A device slows down when it warms up and when others use it. Each timing is therefore divided by how
much longer than usual the references took at that moment.

Legend: `R` timings of references, `F` references.
"""

import dataclasses

import chex
import numpy as np
import scipy

_WINDOW = 9
_LEAST_TIMINGS = 8
_SIGNIFICANCE = 0.01
_SMALLEST_CHANGE = 0.01
_OUTLIER = 4.0
# Relative scatter that no device shows which is left alone.
_MUCH = 0.2


@dataclasses.dataclass(frozen=True)
class Slowdown:
    """How many times as long as usual the references took, over time.

    Attributes:
      at_s: `float64[R]`, seconds, increasing. Without any reference the slowdown is one.
      ratio: `float64[R]`, the running median.
    """

    at_s: np.ndarray
    ratio: np.ndarray

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """Returns the slowdown at given times, in their shape."""
        if not len(self.at_s):
            return np.ones_like(seconds, float)
        return np.interp(seconds, self.at_s, self.ratio)

    @property
    def median(self) -> float:
        """The median over all timings of references."""
        return float(np.median(self.ratio)) if len(self.ratio) else 1.0


def running_slowdown(
    at_s: np.ndarray, which: np.ndarray, ms: np.ndarray, usual_ms: np.ndarray | None = None
) -> Slowdown:
    """Returns the running median of how much longer than usual the references took.

    Args:
      at_s: `float64[R]`, when each was timed, increasing.
      which: `int[R]`, which reference was timed.
      ms: `float64[R]`, the time it took.
      usual_ms: `float64[F]`, the usual time of each reference; None takes its own median.
    """
    at_s, which, ms = _check(at_s, which, ms)
    if not len(ms):
        return Slowdown(at_s, ms)
    usual_ms = _medians(which, ms) if usual_ms is None else np.asarray(usual_ms, float)
    # The window holds every reference: one whose usual time is wrong then does not decide alone.
    width = max(_WINDOW, len(usual_ms) | 1)
    return Slowdown(at_s, scipy.ndimage.median_filter(ms / usual_ms[which], width, mode="reflect"))


def disagreement(which: np.ndarray, ms: np.ndarray, usual_ms: np.ndarray) -> float:
    """Returns how much the references differ in their slowdown, as a relative deviation.

    A device that is busy elsewhere slows down what needs all its cores more than what does not.
    Dividing by the common slowdown cannot correct that.

    Args:
      which: `int[R]`, which reference was timed.
      ms: `float64[R]`, the time it took.
      usual_ms: `float64[F]`, the usual time of each reference.
    """
    ratio = _medians(which, ms) / usual_ms[: which.max() + 1]
    ratio = ratio[~np.isnan(ratio)]
    return float(scipy.stats.median_abs_deviation(np.log(ratio), scale="normal"))


@dataclasses.dataclass(frozen=True)
class Drift:
    """Whether the references changed by more than they scatter.

    Attributes:
      timings: how many timings of references there were.
      scatter: relative standard deviation from one timing to the next.
      p_value: how likely it is that timings which only scatter wander off as far as these.
      change: relative change of the references' time from before to after; 0.08 is 8 % slower.
      after_s: when it changed, in seconds since the first timing; None where it changed gradually.
      lasting_s: seconds from the first timing to the last.
      span: lowest and highest running slowdown, relative to the median.
    """

    timings: int
    scatter: float
    p_value: float
    change: float
    after_s: float | None
    lasting_s: float
    span: tuple[float, float]

    @property
    def found(self) -> bool:
        """Whether there is a drift."""
        return self.p_value < _SIGNIFICANCE and abs(self.change) >= _SMALLEST_CHANGE

    def words(self) -> str:
        """Returns a sentence about it."""
        if self.timings < _LEAST_TIMINGS:
            return "too few reference timings to tell whether the device kept its speed"
        scatter = f"a single one scatters by {self.scatter:.1%}"
        if self.scatter > _MUCH:
            scatter += ", which is much: is the device doing other work?"
        if not self.found:
            return (
                f"the device kept its speed: {self.timings} timings of reference networks in "
                f"between show no drift ({scatter})"
            )
        way = "slower" if self.change > 0 else "faster"
        when = (
            f"gradually over {self.lasting_s:.0f} s"
            if self.after_s is None
            else f"at once after {self.after_s:.0f} of {self.lasting_s:.0f} s"
        )
        low, high = self.span
        return (
            f"the device drifted: reference networks became {abs(self.change):.1%} {way} {when} "
            f"({scatter}); timings are corrected for it, by factors of {low:.2f} to {high:.2f} of "
            "the median"
        )


def find_drift(at_s: np.ndarray, which: np.ndarray, ms: np.ndarray) -> Drift:
    """Looks for a change of speed beyond the references' own noise.

    While nothing changes, the cumulative sum of the standardised log times is a Brownian bridge,
    whose largest excursion has Kolmogorov's distribution. The noise is estimated from one timing to
    the next, so that a slow drift does not count as noise. A step and a straight line are fitted,
    and the better of the two is reported.

    Args:
      at_s: `float64[R]`, when each reference was timed, increasing.
      which: `int[R]`, which reference was timed.
      ms: `float64[R]`, the time it took.

    References: Ploberger and Krämer, "The CUSUM test with OLS residuals", 1992.
    """
    at_s, which, ms = _check(at_s, which, ms)
    count = len(ms)
    lasting_s = float(at_s[-1] - at_s[0]) if count else 0.0
    if count < _LEAST_TIMINGS:
        return Drift(count, float("nan"), 1.0, 0.0, None, lasting_s, (1.0, 1.0))
    slowdown = running_slowdown(at_s, which, ms)
    logs = np.log(ms / _medians(which, ms)[which])
    steps = np.diff(logs)
    scatter = float(scipy.stats.median_abs_deviation(steps, scale="normal")) / np.sqrt(2)
    scores = np.clip((logs - np.median(logs)) / max(scatter, 1e-9), -_OUTLIER, _OUTLIER)
    path = np.cumsum(scores - scores.mean())[:-1] / np.sqrt(count)
    turn = int(np.abs(path).argmax()) + 1
    before, after = float(np.median(logs[:turn])), float(np.median(logs[turn:]))
    slope, offset, *_ = scipy.stats.theilslopes(logs, at_s)
    left_by_step = np.abs(logs - np.where(np.arange(count) < turn, before, after)).sum()
    left_by_line = np.abs(logs - offset - slope * at_s).sum()
    stepped = left_by_step <= left_by_line
    change = after - before if stepped else float(slope) * lasting_s
    relative = slowdown.ratio / slowdown.median
    return Drift(
        timings=count,
        scatter=scatter,
        p_value=float(scipy.stats.kstwobign.sf(np.abs(path).max())),
        change=float(np.expm1(change)),
        after_s=float(at_s[turn] - at_s[0]) if stepped else None,
        lasting_s=lasting_s,
        span=(float(relative.min()), float(relative.max())),
    )


def _medians(which: np.ndarray, ms: np.ndarray) -> np.ndarray:
    """Returns each reference's median; NaN for one that was never timed."""
    return np.array(
        [
            np.median(ms[which == number]) if (which == number).any() else np.nan
            for number in range(which.max() + 1)
        ]
    )


def _check(
    at_s: np.ndarray, which: np.ndarray, ms: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    at_s, ms = np.asarray(at_s, float), np.asarray(ms, float)
    which = np.asarray(which, int)
    chex.assert_rank([at_s, which, ms], 1)
    chex.assert_equal_shape([at_s, which, ms])
    return at_s, which, ms
