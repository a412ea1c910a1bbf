"""The expected cost of an architecture whose decisions are drawn.

Legend: `D` decisions, `K` options of the widest decision.
"""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from hwnas_jax.cost.models.base import CostModel


def bound_of(
    model: CostModel, metrics: Sequence[str], deviations: float
) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """Returns what an architecture costs: `float32[D, K] -> {metric: float32[]}`.

    Args:
      model: the cost model.
      metrics: which of its metrics; the first is the one with the budget.
      deviations: standard deviations that are added to the first.
    """
    first = metrics[0]

    def costs(weight: jax.Array) -> dict[str, jax.Array]:
        predicted = model.predict(weight)
        found = {metric: predicted[metric] for metric in metrics}
        if deviations:
            found[first] = found[first] + deviations * model.std(weight)[first]
        return found

    return costs


def expected_costs(
    model: CostModel,
    metrics: Sequence[str],
    key: jax.Array,
    share: jax.Array,
    samples: int,
    *,
    deviations: float = 0.0,
) -> dict[str, jax.Array]:
    """Returns the expected costs of an architecture, `{metric: float32[]}`.

    The expectation is over independent draws of every decision. A model whose prediction at soft
    gates means just that (`exact_expectation`) is asked there, without any draw; everything else is
    averaged over drawn architectures. That holds for the standard deviation of every model: at soft
    gates the errors of the architectures in the mix cancel, which says nothing about the one that
    will be derived. On an enumerated posterior over 1024 architectures it was a fifth of its
    expectation there.

    Args:
      model: the cost model.
      metrics: which of its metrics; the first is the one with the budget.
      key: for the draws.
      share: `float32[D, K]`, the probabilities.
      samples: number of draws.
      deviations: standard deviations that are added to the first metric.
    """
    first = metrics[0]
    if not model.exact_expectation:
        return expectation(bound_of(model, metrics, deviations), key, share, samples)
    predicted = model.predict(share)
    found = {metric: predicted[metric] for metric in metrics}
    if deviations:
        spread = expectation(lambda weight: model.std(weight)[first], key, share, samples)
        found[first] = found[first] + deviations * spread
    return found


def expectation(
    function: Callable[[jax.Array], Any], key: jax.Array, share: jax.Array, samples: int
) -> Any:
    """Returns the mean of a function of architectures, unbiased in value and gradient.

    In each drawn architecture every decision is put to each of its options in turn. That gives the
    mean given all other decisions, and its gradient by that decision's probabilities, without noise
    from the decision itself. The function is called on one-hot rows only, `samples * D * K` times,
    and is not differentiated.

    Args:
      function: `float32[D, K] -> tree` of `float32[]`.
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
        values = jax.vmap(function)(swapped)
        return jax.tree.map(
            lambda leaf: jnp.where(possible, leaf.reshape(decisions, options), 0.0), values
        )

    tables = jax.lax.map(each_option, jax.random.split(key, samples))

    def mean(table):
        table = jax.lax.stop_gradient(table.mean(0))
        value = (fixed * table).sum(-1).mean()
        return value + ((share - fixed) * table).sum()

    return jax.tree.map(mean, tables)
