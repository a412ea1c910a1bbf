"""ReinMax: one-hot gates with a gradient that is accurate to second order."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge

from hwnas_jax.relax.base import RELAXATIONS, Gates, Params, Relaxation, draw, masked


@jax.custom_vjp
def _drawn(logits: jax.Array, hard: jax.Array, temperature: float) -> jax.Array:
    del logits, temperature
    return hard


def _forward(logits, hard, temperature):
    return hard, (jax.nn.softmax(logits), jax.nn.softmax(logits / temperature), hard)


def _backward(residuals, slope):
    share, tempered, hard = residuals

    def softmax_slope(row):
        """The derivative of a softmax whose value is `row`, times the slope."""
        return row * slope - row * jnp.sum(row * slope, -1, keepdims=True)

    # Rows of `softmax_slope` sum to zero, so there is no mean to subtract.
    return 2.0 * softmax_slope(0.5 * (tempered + hard)) - 0.5 * softmax_slope(share), None, None


_drawn.defvjp(_forward, _backward)


@RELAXATIONS.add
@dataclasses.dataclass(frozen=True)
class ReinMax(Relaxation):
    """One-hot gates drawn by their probabilities; the gradient needs every option to run.

    At temperature one the expected gradient is exact for a loss that is linear or quadratic in the
    gates; a straight-through gradient is exact for a linear loss only. A higher temperature trades
    this exactness for less variance. The temperature of the search, which is annealed below one,
    changes nothing.

    References: Liu et al., "Bridging Discrete and Backpropagation: Straight-Through and Beyond",
    2023.
    """

    name = "reinmax"
    summary = "all options run, one counts, gradients exact to second order (ReinMax)"

    temperature: Annotated[float, Ge(1)] = 1.0
    """of the probabilities that the gradient is taken at, at least 1"""

    def sample(
        self, key: jax.Array, params: Params, mask: jax.Array, temperature: jax.Array
    ) -> Gates:
        """Returns one-hot gates; all options run."""
        del temperature
        _, hard = draw(key, params, mask)
        return Gates(_drawn(masked(params, mask), hard, self.temperature))
