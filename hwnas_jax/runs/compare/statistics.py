"""Means with their intervals, paired differences, and how fronts grow: the numbers of a comparison.

Legend: `S` seeds, `E` evaluations, `Q` places of a grid.
"""

from collections.abc import Mapping

import chex
import numpy as np
import scipy

from hwnas_jax.report.difference import LEVEL
from hwnas_jax.report.pareto_front import Reference

_RESAMPLES = 10_000


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the 95 % interval of the mean over seeds, by the bootstrap's percentiles.

    The resamples are drawn with a seed of their own, so that equal values have equal intervals.

    Args:
      values: `float[S, ...]`.

    Returns:
      The lower and the upper end, `float64[...]`.

    References: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    values = np.asarray(values, np.float64)
    seeds = len(values)
    counts = np.random.default_rng(0).multinomial(seeds, np.full(seeds, 1 / seeds), _RESAMPLES)
    means = np.tensordot(counts / seeds, values, axes=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def signed_rank(differences: np.ndarray) -> float:
    """Returns the p-value of Wilcoxon's signed-rank test that paired differences lie about zero.

    Differences of zero are left out; it is one when all are zero.

    Args:
      differences: `float[S]`.
    """
    chex.assert_rank(differences, 1)
    if not np.any(differences):
        return 1.0
    return float(scipy.stats.wilcoxon(differences).pvalue)


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """Returns p-values corrected for there being several, by Holm's step-down method.

    References: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    corrected, highest = dict(values), 0.0
    for place, name in enumerate(sorted(values, key=lambda name: values[name])):
        highest = max(highest, min(1.0, (len(values) - place) * values[name]))
        corrected[name] = highest
    return corrected


def first_reaching(curve: np.ndarray, value: float) -> int | None:
    """Returns the first place of a curve, `float[Q]`, that is at least `value`; None for none."""
    reached = np.flatnonzero(np.asarray(curve) >= value - 1e-12)
    return int(reached[0]) if len(reached) else None


def hypervolumes(
    costs: np.ndarray, values: np.ndarray, reference: Reference, counts: np.ndarray
) -> np.ndarray:
    """Returns the area that the first of one search's evaluations dominate up to `reference`.

    Args:
      costs: `float[E]`, of which less is better.
      values: `float[E]`, of which more is better; NaN, here or as a cost, adds nothing.
      reference: the worst corner of the area.
      counts: `int[Q]`, how many evaluations there are.

    Returns:
      `float64[Q]`.
    """
    costs, values = np.asarray(costs, np.float64), np.asarray(values, np.float64)
    chex.assert_rank(costs, 1)
    chex.assert_equal_shape([costs, values])
    adds = ~np.isnan(costs) & (costs < reference.cost) & (values > reference.value)
    order = np.argsort(np.where(adds, costs, np.inf), kind="stable")[: adds.sum()]
    heights = np.where(order < np.asarray(counts)[:, None], values[order] - reference.value, 0.0)
    highest = np.maximum.accumulate(heights, axis=1)
    widths = np.diff(np.append(costs[order], reference.cost))
    return highest @ widths


def attained(costs: np.ndarray, values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Returns the best value that costs at most each of `grid`; NaN where nothing is so cheap.

    Args:
      costs: `float[E]`.
      values: `float[E]`, of which more is better; NaN, here or as a cost, is left out.
      grid: `float[Q]`.

    Returns:
      `float64[Q]`.
    """
    known = ~np.isnan(costs) & ~np.isnan(values)
    order = np.argsort(costs[known], kind="stable")
    highest = np.maximum.accumulate(np.append(-np.inf, values[known][order]))
    found = highest[np.searchsorted(costs[known][order], grid, "right")]
    return np.where(np.isinf(found), np.nan, found)
