"""Fronts of two objectives: which points are on one, and how much it covers.

Legend: `N` points. A cost is better when lower, an accuracy when higher.
"""

from typing import NamedTuple

import chex
import numpy as np


class Reference(NamedTuple):
    """The point that a hypervolume is measured from; worse in both than what counts.

    Attributes:
      cost: what is not below it adds nothing.
      accuracy: what is not above it adds nothing.
    """

    cost: float
    accuracy: float


def on_front(costs: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """Returns `bool[N]`: whether no other point is at least as good in both and better in one.

    Args:
      costs: `float[N]`.
      accuracies: `float[N]`.
    """
    costs, accuracies = np.asarray(costs, float), np.asarray(accuracies, float)
    chex.assert_rank(costs, 1)
    chex.assert_equal_shape([costs, accuracies])
    no_worse = (costs[:, None] <= costs) & (accuracies[:, None] >= accuracies)
    better = (costs[:, None] < costs) | (accuracies[:, None] > accuracies)
    return np.logical_not((no_worse & better).any(0))


def hypervolume(costs: np.ndarray, accuracies: np.ndarray, reference: Reference) -> float:
    """Returns the area that the points dominate up to `reference`, exactly.

    Args:
      costs: `float[N]`; `N` may be zero.
      accuracies: `float[N]`.
      reference: the worst corner of the area.

    References: Zitzler and Thiele, "Multiobjective Optimization Using Evolutionary Algorithms: A
    Comparative Case Study", 1998.
    """
    costs, accuracies = np.asarray(costs, float), np.asarray(accuracies, float)
    chex.assert_rank(costs, 1)
    chex.assert_equal_shape([costs, accuracies])
    area, best = 0.0, reference.accuracy
    for i in np.lexsort((-accuracies, costs)):
        if costs[i] < reference.cost and accuracies[i] > best:
            area += (reference.cost - costs[i]) * (accuracies[i] - best)
            best = accuracies[i]
    return float(area)
