"""What a search minimises: task loss plus a hardware term with a multiplier.

With a fixed weight the multiplier stays; with a target it is raised while the cost is above the
target and lowered while below (dual ascent), so that nobody has to guess a weight. The quadratic
part of the augmented Lagrangian damps the swing that pure dual ascent falls into.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from hwnas_jax.cost.base import CostModel
from hwnas_jax.relax import straight_through


class Target(NamedTuple):
    """The budget of one metric.

    Attributes:
      metric: a metric of the cost model ("latency_ms").
      value: the budget, in the metric's unit.
    """

    metric: str
    value: float


def lagrangian(
    task_loss: jax.Array, excess: jax.Array, multiplier: jax.Array, damping: float
) -> jax.Array:
    """Returns `task_loss + multiplier * excess + damping / 2 * excess ** 2`.

    Args:
      task_loss: `float32[]`.
      excess: `float32[]`, cost / target - 1.
      multiplier: `float32[]`.
      damping: weight of the quadratic part; zero gives a plain weighted sum.

    References: Hestenes, "Multiplier and Gradient Methods", 1969.
    """
    chex.assert_rank([task_loss, excess, multiplier], 0)
    return task_loss + multiplier * excess + 0.5 * damping * excess**2


def ascend(multiplier: jax.Array, excess: jax.Array, learning_rate: float) -> jax.Array:
    """Returns the multiplier after one step of dual ascent; it may go below zero.

    A negative multiplier spends budget that is left, since a target is met from both sides.

    References: Luo et al., "LightNAS", 2022.
    """
    chex.assert_rank([multiplier, excess], 0)
    return multiplier + learning_rate * excess


def expected_cost(
    model: CostModel,
    metric: str,
    key: jax.Array,
    logits: jax.Array,
    mask: jax.Array,
    temperature: jax.Array,
    samples: int,
) -> jax.Array:
    """Returns the mean cost `float32[]` of architectures drawn from `logits`.

    Every draw is one architecture, where the cost model is exact in meaning; the gradient runs
    through the model and the relaxed draw (straight-through).

    Args:
      model: the cost model.
      metric: which of its metrics.
      key: for the draws.
      logits: `float32[D, K]`.
      mask: `bool[D, K]`.
      temperature: of the relaxed draw; the distribution of the draws does not depend on it.
      samples: number of draws.
    """

    def draw(key):
        return model.predict(straight_through(key, logits, mask, temperature).weight)[metric]

    return jnp.mean(jax.vmap(draw)(jax.random.split(key, samples)))
