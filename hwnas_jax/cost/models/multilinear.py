"""The expectation of a table of costs when every decision is drawn independently.

Gates that give each option a probability describe a distribution of architectures, and the cost
of the relaxed network is the mean over it. As a function of the gates that mean is the multilinear
extension of the table: linear in every row, exact on architectures, and so is its gradient.

Legend: `D` decisions, `K` options of the widest decision.
"""

from collections.abc import Callable

import chex
import jax
import numpy as np

from hwnas_jax.spaces.base import Choices

LARGEST = 2**16
"""Architectures of the largest space that is tabulated: a quarter of a megabyte per metric."""


def is_enumerable(space: Choices) -> bool:
    """Returns whether a table of all architectures of the space is small enough to keep."""
    return space.num_options**space.num_decisions <= LARGEST


def tabulate(space: Choices, costs: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns a table of all architectures, `float64[K, ..., K]` with `D` axes.

    Args:
      space: an enumerable one.
      costs: of architectures `int32[N, D]`, `float64[N]`.
    """
    table = np.zeros((space.num_options,) * space.num_decisions)
    architectures = space.enumerate()
    table[tuple(architectures.T)] = costs(architectures)
    return table


def expectation(table: jax.Array, weight: jax.Array) -> jax.Array:
    """Returns the mean of `table` over independent draws, `float32[]`.

    Args:
      table: `float32[K, ..., K]`, an axis per decision.
      weight: `float32[D, K]`, the probability of each option.
    """
    chex.assert_shape(weight, (table.ndim, table.shape[0]))
    # The last decision first: each product shrinks what the next one reads.
    for row in weight[::-1]:
        table = table @ row
    return table


def expectation_float64(table: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns the mean over independent draws and its gradient in numpy's double precision.

    Args:
      table: `float64[K, ..., K]`.
      weight: `float64[D, K]`.

    Returns:
      The mean, and `float64[D, K]`: the mean given each option of each decision.
    """
    decisions = table.ndim
    chex.assert_shape(weight, (decisions, table.shape[0]))
    gradient = np.empty_like(weight, dtype=float)
    for kept in range(decisions):
        rest = table
        for decision in range(decisions - 1, -1, -1):
            if decision != kept:
                rest = np.tensordot(rest, weight[decision], (decision, 0))
        gradient[kept] = rest
    return float(gradient[0] @ weight[0]), gradient
