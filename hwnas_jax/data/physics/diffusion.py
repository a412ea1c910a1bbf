"""Solves `-div(a grad u) = f` on the unit square, with `u = 0` on its boundary.

Legend: `B` problems that are solved at once, `S` points along a side of the grid, those on the
boundary included.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np


class Solution(NamedTuple):
    """What the solver found.

    Attributes:
      values: `float32[B, S, S]`, `u` at every point of the grid.
      steps: `int32[]`, how many steps were taken.
      error: `float32[B]`, size of the residual, as a share of that of `f`; both are measured by the
        inverse of the Laplacian.
    """

    values: jax.Array
    steps: jax.Array
    error: jax.Array


@jax.jit
def solve_diffusion(
    coefficient: jax.Array,
    force: jax.Array,
    *,
    tolerance: float | jax.Array = 1e-6,
    most_steps: int | jax.Array = 200,
) -> Solution:
    """Solves several problems at once by conjugate gradients.

    Second-order finite differences: the flow between two neighbouring points has the harmonic mean
    of their coefficients, which is right across a jump of the coefficient. Each step inverts the
    Laplacian of the grid by sine transforms. The number of steps then depends on the ratio of the
    largest to the smallest coefficient, and not on the size of the grid (Concus and Golub, "Use of
    Fast Direct Methods for the Efficient Numerical Solution of Nonseparable Elliptic Equations",
    SIAM Journal on Numerical Analysis 1973).

    Args:
      coefficient: `float32[B, S, S]`, `a` at every point, positive.
      force: `float32[B, S, S]`, `f` at every point; that on the boundary is not used.
      tolerance: the error of the slowest problem at which the steps end.
      most_steps: after which they end in any case; `error` tells what was reached.

    Returns:
      `u` for every problem, zero on the boundary.
    """
    chex.assert_rank([coefficient, force], 3)
    chex.assert_equal_shape([coefficient, force])
    size = coefficient.shape[-1]
    chex.assert_shape(coefficient, (None, size, size))
    inner, values = _sines(size)
    between = _between(coefficient)
    right = force[:, 1:-1, 1:-1] / (size - 1) ** 2

    def precondition(residual):
        return _apply(inner, _apply(inner, residual) / values)

    def carry_on(state):
        _, _, _, left, step = state
        return jnp.logical_and((left > tolerance**2 * whole).any(), step < most_steps)

    def improve(state):
        found, residual, direction, left, step = state
        image = _operator(between, direction)
        length = _ratio(left, _dot(direction, image))
        found = found + length * direction
        residual = residual - length * image
        towards = precondition(residual)
        after = _dot(residual, towards)
        direction = towards + _ratio(after, left) * direction
        return found, residual, direction, after, step + 1

    start = precondition(right)
    whole = _dot(right, start)
    state = (jnp.zeros_like(right), right, start, whole, jnp.int32(0))
    found, _, _, left, steps = jax.lax.while_loop(carry_on, improve, state)
    error = jnp.sqrt(_ratio(left, whole))[:, 0, 0]
    return Solution(jnp.pad(found, ((0, 0), (1, 1), (1, 1))), steps, error)


def _between(coefficient: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the coefficients between neighbours: `[B, S - 1, S - 2]` and `[B, S - 2, S - 1]`."""

    def mean(one, other):
        return 2 * one * other / (one + other)

    down, right = coefficient[:, :, 1:-1], coefficient[:, 1:-1, :]
    return mean(down[:, 1:], down[:, :-1]), mean(right[:, :, 1:], right[:, :, :-1])


def _operator(between: tuple[jax.Array, jax.Array], inside: jax.Array) -> jax.Array:
    """Applies `-div(a grad)`, times the square of the spacing, to the points inside."""
    down, right = between
    all_down = jnp.pad(inside, ((0, 0), (1, 1), (0, 0)))
    all_right = jnp.pad(inside, ((0, 0), (0, 0), (1, 1)))
    flow_down = down * (all_down[:, 1:] - all_down[:, :-1])
    flow_right = right * (all_right[:, :, 1:] - all_right[:, :, :-1])
    return (flow_down[:, :-1] - flow_down[:, 1:]) + (flow_right[:, :, :-1] - flow_right[:, :, 1:])


def _sines(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the sine transform, its own inverse, and the eigenvalues of the Laplacian."""
    number = np.arange(1, size - 1)
    angle = np.pi * number / (size - 1)
    transform = np.sqrt(2 / (size - 1)) * np.sin(angle[:, None] * number)
    single = 2 - 2 * np.cos(angle)
    return transform.astype(np.float32), (single[:, None] + single).astype(np.float32)


def _apply(transform: Any, inside: jax.Array) -> jax.Array:
    """Transforms rows and columns; in full precision, since its product must stay symmetric."""
    return jnp.einsum(
        "ij,bjk,kl->bil", transform, inside, transform, precision=jax.lax.Precision.HIGHEST
    )


def _dot(one: jax.Array, other: jax.Array) -> jax.Array:
    return (one * other).sum((1, 2), keepdims=True)


def _ratio(one: jax.Array, other: jax.Array) -> jax.Array:
    """Returns their ratio; zero for a problem that is already solved exactly."""
    return jnp.where(other > 0, one / jnp.where(other > 0, other, 1.0), 0.0)
