"""What a search minimises: task loss plus a hardware term with a multiplier.

With a fixed weight the multiplier stays; with a target it is raised while the cost is above the
target and lowered while below (dual ascent), so that nobody has to guess a weight. The quadratic
part of the augmented Lagrangian damps the swing that pure dual ascent falls into.
"""

from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from hwnas_jax.cost.models.base import CostModel, is_exact
from hwnas_jax.relax import softmax_probabilities as probabilities


class Target(NamedTuple):
    """The budget of one metric.

    Attributes:
      metric: a metric of the cost model ("latency_ms").
      value: the budget, in the metric's unit.
      confidence: how sure a network must be to keep the budget, in [0.5, 1); None goes by the
        prediction alone.
    """

    metric: str
    value: float
    confidence: float | None = None

    @property
    def deviations(self) -> float:
        """How many standard deviations above the prediction the upper confidence bound lies."""
        return 0.0 if self.confidence is None else NormalDist().inv_cdf(self.confidence)


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
    samples: int,
    *,
    deviations: float = 0.0,
) -> jax.Array:
    """Returns the expected cost, or its expected upper bound, of an architecture of `logits`.

    The expectation `float32[]` is over independent draws of every decision. A prediction that
    means just that at soft gates (`is_exact`) is taken there, without any draw; everything else is
    averaged over drawn architectures. That holds for the standard deviation of every model: at
    soft gates the errors of the architectures in the mix cancel, which says nothing of the one
    that will be derived. On an enumerated posterior over 1024 architectures it was a fifth of its
    expectation there.

    Args:
      model: the cost model.
      metric: which of its metrics.
      key: for the draws.
      logits: `float32[D, K]`.
      mask: `bool[D, K]`.
      samples: number of draws.
      deviations: standard deviations added to the prediction.
    """

    def bound(weight):
        cost = model.predict(weight)[metric]
        return cost + deviations * model.std(weight)[metric] if deviations else cost

    share = probabilities(logits, mask)
    if not is_exact(model):
        return expectation(bound, key, share, samples)
    mean = model.predict(share)[metric]
    if not deviations:
        return mean
    return mean + deviations * expectation(
        lambda weight: model.std(weight)[metric], key, share, samples
    )


def expectation(
    function: Callable[[jax.Array], jax.Array], key: jax.Array, share: jax.Array, samples: int
) -> jax.Array:
    """Returns the mean of a function of architectures, unbiased in value and gradient.

    In each drawn architecture every decision is put to each of its options in turn, which gives
    the mean given all other decisions, and its gradient by that decision's probabilities, without
    noise from the decision itself. The function is called on one-hot rows only, `samples * D * K`
    times, and not differentiated.

    Args:
      function: `float32[D, K] -> float32[]`.
      key: for the draws.
      share: `float32[D, K]`, the probabilities.
      samples: number of draws.

    References: Titsias and Lazaro-Gredilla, "Local Expectation Gradients for Black Box
    Variational Inference", 2015.
    """
    chex.assert_rank(share, 2)
    decisions, options = share.shape
    fixed = jax.lax.stop_gradient(share)
    possible = fixed > 0
    # [D, K, D, K]: which rows an option of a decision replaces, and by what.
    own = jnp.eye(decisions)[:, None, :, None]
    other = jnp.eye(options)[None, :, None, :]

    def each_option(key):
        drawn = jax.random.categorical(key, jnp.log(fixed), axis=-1)
        weight = jax.nn.one_hot(drawn, options)
        swapped = (weight * (1 - own) + own * other).reshape(-1, decisions, options)
        values = jax.vmap(function)(swapped).reshape(decisions, options)
        return jnp.where(possible, values, 0.0)

    table = jax.lax.map(each_option, jax.random.split(key, samples)).mean(0)
    table = jax.lax.stop_gradient(table)
    value = (fixed * table).sum(-1).mean()
    return value + ((share - fixed) * table).sum()
