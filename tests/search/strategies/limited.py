"""A made-up search under a limit on the cost: what is known ahead, and what is told."""

import jax
import jax.numpy as jnp

from hwnas_jax.search.strategies import Outlook, Told


def limited(costs, limit, score_of):
    """Returns what a strategy may look at, and what judges the architectures it asks for.

    Args:
      costs: `float32[D, K]`, of every option; an architecture costs the sum.
      limit: the most that one may cost.
      score_of: `int32[n, D] -> float32[n]`.
    """
    table = jnp.asarray(costs)

    def ahead(rows):
        cost = table[jnp.arange(len(table)), rows].sum(axis=-1)
        excess = jnp.maximum(cost / limit - 1, 0)
        features = jax.nn.one_hot(rows, table.shape[1]).reshape(len(rows), -1)
        return Outlook(cost, excess, (excess <= 0).astype(jnp.float32), features)

    def judge(rows, fidelity, key):
        del fidelity, key
        outlook = ahead(rows)
        return Told(score_of(rows), outlook.excess, outlook.cost), {}

    return ahead, judge
