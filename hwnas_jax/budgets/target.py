"""What the networks that are searched for may cost."""

from statistics import NormalDist
from typing import NamedTuple


class Target(NamedTuple):
    """The budget of one metric, and upper limits of others.

    Attributes:
      metric: a metric of the cost model ("latency_ms").
      value: the budget, in the metric's unit.
      confidence: how sure a network must be to keep the budget, in [0.5, 1); None goes by the
        prediction alone.
      others: further metrics with their upper limits.
    """

    metric: str
    value: float
    confidence: float | None = None
    others: tuple[tuple[str, float], ...] = ()

    @property
    def limits(self) -> dict[str, float]:
        """The limit of every metric that has one, the budget first."""
        return {self.metric: self.value, **dict(self.others)}

    @property
    def deviations(self) -> float:
        """How many standard deviations above the prediction the upper confidence bound lies."""
        return 0.0 if self.confidence is None else NormalDist().inv_cdf(self.confidence)
