"""Paths that run every option equally often.

Legend: `D` decisions, `K` options of the widest decision.
"""

import jax
import jax.numpy as jnp


def fair_paths(key: jax.Array, mask: jax.Array, draws: int) -> jax.Array:
    """Returns paths `int32[draws, D]` that take every option of a decision equally often.

    Each decision's options are put into a random order of their own, which the paths go through
    again and again. With as many draws as a decision has options, each is taken once.

    Args:
      key: random key.
      mask: `bool[D, K]`.
      draws: how many paths.

    References: Chu et al., "FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural
    Architecture Search", 2019, strict fairness.
    """
    order = jnp.argsort(jnp.where(mask, jax.random.uniform(key, mask.shape), 2.0), axis=1)
    turn = jnp.arange(draws)[:, None] % mask.sum(axis=1)[None]
    return jnp.take_along_axis(order, turn.T, axis=1).T.astype(jnp.int32)
