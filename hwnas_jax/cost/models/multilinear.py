"""Expected costs of architectures that are drawn at random.

Gates that give each option a probability describe a distribution of architectures, and the cost of
a relaxed network is the mean over it. As a function of the gates, the mean of any cost is linear
in every row and exact on architectures, and so is its gradient. A distribution comes as `Forms`:
groups of decisions that are independent of one another, each group a mixture of forms.

Legend: `D` decisions, `K` options of the widest decision, `G` decisions of a group, `P` forms of a
group, `T` terms, `R` conditions of a term.
"""

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.spaces.base import Choices, Forms

LARGEST = 2**16
"""Architectures of the largest space that is tabulated: a quarter of a megabyte per metric."""


def is_enumerable(space: Choices) -> bool:
    """Returns whether a table of all architectures of the space is small enough to keep."""
    return space.num_options**space.num_decisions <= LARGEST


def tabulate(space: Choices, costs: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns a table of all architectures, `float64[K, ..., K]` with `D` axes.

    Args:
      space: one for which `is_enumerable` holds.
      costs: returns `float64[N]` of architectures `int32[N, D]`.
    """
    table = np.zeros((space.num_options,) * space.num_decisions)
    architectures = space.enumerate()
    table[tuple(architectures.T)] = costs(architectures)
    return table


def expectation(table: jax.Array, forms: Sequence[Forms]) -> jax.Array:
    """Returns the mean of a table over random architectures, `float32[]`.

    Args:
      table: `float32[K, ..., K]`, an axis for each decision.
      forms: the distribution of the architectures.
    """
    left = list(range(table.ndim))
    for decisions, coefficient, rows in forms:
        axes = [left.index(int(decision)) for decision in decisions]
        left = [decision for decision in left if decision not in decisions]
        table = jnp.moveaxis(table, axes, range(len(axes)))
        # The first decision for all forms at once: only later products differ between them.
        parts = jnp.tensordot(rows[:, 0], table, 1)
        for row in jnp.moveaxis(rows[:, 1:], 1, 0):
            parts = jnp.einsum("pk,pk...->p...", row, parts)
        table = jnp.tensordot(coefficient, parts, 1)
    return table


def probabilities(
    conditions: jax.Array, forms: Sequence[Forms], shape: tuple[int, ...]
) -> jax.Array:
    """Returns how probable it is that all conditions of a term hold, `float32[T]`.

    Args:
      conditions: `int32[T, R]`, positions in the flat gates as in `Terms.index`; `D * K` always
        holds.
      forms: the distribution of the architectures.
      shape: `(D, K)`.
    """
    decisions, options = shape
    asked = (conditions[:, :, None] // options == np.arange(decisions)).any(axis=1)
    total = jnp.ones(len(conditions))
    for members, coefficient, rows in forms:
        count = len(rows)
        whole = jnp.ones((count, *shape)).at[:, members].set(rows)
        flat = jnp.append(whole.reshape(count, -1), jnp.ones((count, 1)), axis=1)
        held = flat[:, conditions].prod(axis=2)
        if count > 1:
            # A row may sum to less than one; what is missing there weighs the whole form.
            mass = jnp.ones((count, decisions)).at[:, members].set(rows.sum(axis=2))
            held = held * jnp.where(asked, 1.0, mass[:, None]).prod(axis=2)
        total = total * (coefficient @ held)
    return total


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
