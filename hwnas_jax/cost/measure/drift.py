"""The pace of a device while it is timed, as reference networks timed in between tell it.

A device slows down when it warms up and when others use it. Whatever is timed then is divided by
how much longer than usual the references took at that moment.

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
# Scatter, as a share, beyond that of a device that is left alone.
_MUCH = 0.2


@dataclasses.dataclass(frozen=True)
class Pace:
    """How many times as long as usual the references took, over time.

    Attributes:
      at_s: `float64[R]`, increasing; without any the pace is one.
      ratio: `float64[R]`, the running median.
    """

    at_s: np.ndarray
    ratio: np.ndarray

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """Returns the pace at given times, of their shape."""
        if not len(self.at_s):
            return np.ones_like(seconds, float)
        return np.interp(seconds, self.at_s, self.ratio)

    @property
    def level(self) -> float:
        """The median pace."""
        return float(np.median(self.ratio)) if len(self.ratio) else 1.0


def running_pace(
    at_s: np.ndarray, which: np.ndarray, ms: np.ndarray, usual_ms: np.ndarray | None = None
) -> Pace:
    """Returns the running median of how much longer than usual the references took.

    Args:
      at_s: `float64[R]`, when each was timed, increasing.
      which: `int[R]`, the reference it was.
      ms: `float64[R]`, the time it took.
      usual_ms: `float64[F]`, what is usual; None takes each reference's own median.
    """
    at_s, which, ms = _check(at_s, which, ms)
    if not len(ms):
        return Pace(at_s, ms)
    usual_ms = _medians(which, ms) if usual_ms is None else np.asarray(usual_ms, float)
    # A window sees every reference, so that none sets the pace by being measured badly before.
    width = max(_WINDOW, len(usual_ms) | 1)
    return Pace(at_s, scipy.ndimage.median_filter(ms / usual_ms[which], width, mode="reflect"))


def disagreement(which: np.ndarray, ms: np.ndarray, usual_ms: np.ndarray) -> float:
    """Returns how far references are from having one pace, the relative deviation among them.

    A device that is busy elsewhere slows down what needs all its cores more than what does not;
    dividing by the pace does not mend that.

    Args:
      which: `int[R]`, the reference that was timed.
      ms: `float64[R]`, the time it took.
      usual_ms: `float64[F]`, what is usual.
    """
    ratio = _medians(which, ms) / usual_ms[: which.max() + 1]
    ratio = ratio[~np.isnan(ratio)]
    return float(scipy.stats.median_abs_deviation(np.log(ratio), scale="normal"))


@dataclasses.dataclass(frozen=True)
class Drift:
    """Whether the references changed by more than they scatter.

    Attributes:
      timings: how many timings of references were looked at.
      scatter: standard deviation of one of them, relative, from each to the next.
      p_value: how likely timings that only scatter wander off as far as these.
      change: of the references' time from before to after, relative; 0.08 is 8 % slower.
      after_s: when it changed, in seconds since the first; None where it changed gradually.
      lasting_s: from the first to the last.
      span: lowest and highest running pace, relative to the median.
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
        """Says it in a sentence."""
        if self.timings < _LEAST_TIMINGS:
            return "too few reference timings to tell whether the device kept its pace"
        scatter = f"a single one scatters by {self.scatter:.1%}"
        if self.scatter > _MUCH:
            scatter += ", which is much: is the device doing other work?"
        if not self.found:
            return (
                f"the device kept its pace: {self.timings} timings of reference networks in "
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
            f"({scatter}); timings are corrected by the running pace, {low:.2f} to {high:.2f} of "
            "its median"
        )


def find_drift(at_s: np.ndarray, which: np.ndarray, ms: np.ndarray) -> Drift:
    """Looks for a change of pace beyond the references' own noise.

    The cumulative sum of the standardised log times is a Brownian bridge while nothing changes,
    whose largest excursion has Kolmogorov's distribution. The noise is that from each timing to
    the next, which a slow drift does not enter. Of a step and a straight line, the one that
    leaves less is reported.

    Args:
      at_s: `float64[R]`, when each reference was timed, increasing.
      which: `int[R]`, the reference it was.
      ms: `float64[R]`, the time it took.

    References: Ploberger and Krämer, "The CUSUM test with OLS residuals", 1992.
    """
    at_s, which, ms = _check(at_s, which, ms)
    count = len(ms)
    lasting_s = float(at_s[-1] - at_s[0]) if count else 0.0
    if count < _LEAST_TIMINGS:
        return Drift(count, float("nan"), 1.0, 0.0, None, lasting_s, (1.0, 1.0))
    pace = running_pace(at_s, which, ms)
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
    return Drift(
        timings=count,
        scatter=scatter,
        p_value=float(scipy.stats.kstwobign.sf(np.abs(path).max())),
        change=float(np.expm1(change)),
        after_s=float(at_s[turn] - at_s[0]) if stepped else None,
        lasting_s=lasting_s,
        span=(float(pace.ratio.min() / pace.level), float(pace.ratio.max() / pace.level)),
    )


def _medians(which, ms):
    """Returns each reference's median; NaN for one that was never timed."""
    return np.array(
        [
            np.median(ms[which == number]) if (which == number).any() else np.nan
            for number in range(which.max() + 1)
        ]
    )


def _check(at_s, which, ms):
    at_s, ms = np.asarray(at_s, float), np.asarray(ms, float)
    which = np.asarray(which, int)
    chex.assert_rank([at_s, which, ms], 1)
    chex.assert_equal_shape([at_s, which, ms])
    return at_s, which, ms
