"""The difference between two results, and how far chance alone could move it.

Legend: `N` test examples, `S` seeds.

Intervals hold the true difference with 95 % probability. What is a share of test examples has one
from a single pair of networks; every metric has one from several seeds.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import chex
import numpy as np
import scipy

LEVEL = 0.95


class Difference(NamedTuple):
    """A difference, signed so that more is better for the first of the two.

    Attributes:
      value: the difference.
      half_width: half of its 95 % interval; None where nothing tells it.
    """

    value: float
    half_width: float | None

    @property
    def is_seen(self) -> bool | None:
        """Whether the interval leaves zero out; None without an interval."""
        return None if self.half_width is None else abs(self.value) > self.half_width


def of_examples(one: np.ndarray, other: np.ndarray) -> Difference:
    """Returns the difference of two shares of right answers to the same examples.

    Only examples that one of the two got right and the other did not tell them apart. The interval
    is Wald's after one more such example for each side has been added, without which few
    disagreements would make it too narrow.

    Args:
      one: `bool[N]`, which examples are right.
      other: `bool[N]`, likewise.

    References: Bonett and Price, "Adjusted Wald Confidence Interval for a Difference of Binomial
    Proportions Based on Paired Data", 2012.
    """
    one, other = np.asarray(one, bool), np.asarray(other, bool)
    chex.assert_rank(one, 1)
    chex.assert_equal_shape([one, other])
    total = len(one) + 2
    only_one, only_other = ((one & ~other).sum() + 1) / total, ((other & ~one).sum() + 1) / total
    variance = (only_one + only_other - (only_one - only_other) ** 2) / total
    return Difference(float(one.mean() - other.mean()), _normal() * math.sqrt(variance))


def of_shares(one: float, other: float, examples: int) -> Difference:
    """Returns the difference of two shares of `examples`, as if each had examples of its own.

    This is wider than needed for networks that were tested on the same examples. The interval is
    Wald's after one right and one wrong answer have been added to each.

    References: Agresti and Caffo, "Simple and Effective Confidence Intervals for Proportions and
    Differences of Proportions Result from Adding Two Successes and Two Failures", 2000.
    """
    shares = [(share * examples + 1) / (examples + 2) for share in (one, other)]
    variance = sum(share * (1 - share) / (examples + 2) for share in shares)
    return Difference(one - other, _normal() * math.sqrt(variance))


def over_seeds(differences: Sequence[float]) -> Difference:
    """Returns the mean of paired differences, one for each of `S` seeds, with Student's interval.

    One seed gives no interval.
    """
    values = np.asarray(differences, float)
    chex.assert_rank(values, 1)
    if len(values) < 2:
        return Difference(float(values.mean()), None)
    quantile = scipy.stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)
    error = values.std(ddof=1) / math.sqrt(len(values))
    return Difference(float(values.mean()), float(quantile * error))


def _normal() -> float:
    return float(scipy.stats.norm.ppf((1 + LEVEL) / 2))
