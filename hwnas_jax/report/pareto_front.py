"""Fronts of two objectives: which points are on one, and how much it covers.

Legend: `N` points. Each has a cost, of which less is better, and a value of the task's metric, of
which more or less is better.
"""

from typing import NamedTuple

import chex
import numpy as np


class Reference(NamedTuple):
    """The point that a hypervolume is measured from: the worst corner of the area.

    Attributes:
      cost: a point that costs as much or more adds nothing.
      value: a point whose metric is no better than this adds nothing.
    """

    cost: float
    value: float


def on_front(costs: np.ndarray, values: np.ndarray, *, higher_is_better: bool = True) -> np.ndarray:
    """Returns `bool[N]`: whether no other point is at least as good in both and better in one.

    Args:
      costs: `float[N]`.
      values: `float[N]`.
      higher_is_better: whether more of a value is better.
    """
    costs, values = _checked(costs, values, higher_is_better)
    distinct, group = np.unique(costs, return_inverse=True)
    best = np.full(len(distinct), -np.inf)  # of all points that cost the same
    np.maximum.at(best, group, values)
    cheaper = np.maximum.accumulate(np.r_[-np.inf, best])[:-1]
    return (values == best[group]) & (values > cheaper[group])


def hypervolume(
    costs: np.ndarray,
    values: np.ndarray,
    reference: Reference,
    *,
    higher_is_better: bool = True,
) -> float:
    """Returns the area that the points dominate up to `reference`, exactly.

    Args:
      costs: `float[N]`; `N` may be zero.
      values: `float[N]`.
      reference: the worst corner of the area.
      higher_is_better: whether more of a value is better.

    References: Zitzler and Thiele, "Multiobjective Optimization Using Evolutionary Algorithms: A
    Comparative Case Study", 1998.
    """
    costs, values = _checked(costs, values, higher_is_better)
    area, best = 0.0, reference.value if higher_is_better else -reference.value
    for i in np.lexsort((-values, costs)):
        if costs[i] < reference.cost and values[i] > best:
            area += (reference.cost - costs[i]) * (values[i] - best)
            best = values[i]
    return float(area)


def _checked(costs, values, higher_is_better):
    """Returns both as arrays, the values signed so that more is better."""
    costs, values = np.asarray(costs, float), np.asarray(values, float)
    chex.assert_rank(costs, 1)
    chex.assert_equal_shape([costs, values])
    return costs, values if higher_is_better else -values
