"""Random architectures and small changes of them: what strategies are made of.

Legend: `n` architectures, `D` decisions, `K` options of the widest decision.
"""

import chex
import jax
import jax.numpy as jnp


def random_architectures(key: jax.Array, mask: jax.Array, count: int) -> jax.Array:
    """Returns `int32[count, D]`: every decision takes any of its options with equal probability.

    Args:
      key: random key.
      mask: `bool[D, K]`, true where an option exists.
      count: `n`.
    """
    chex.assert_rank(mask, 2)
    even = jnp.where(mask, 0.0, -jnp.inf)
    return jax.random.categorical(key, even, shape=(count, len(mask))).astype(jnp.int32)


def mutated(key: jax.Array, architecture: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns `architecture` with one decision, drawn at random, at another of its options.

    Decisions that have a single option are not drawn; where all are such, nothing changes.

    Args:
      key: random key.
      architecture: `int32[D]`.
      mask: `bool[D, K]`, true where an option exists.
    """
    chex.assert_shape(architecture, mask.shape[:1])
    which_key, option_key = jax.random.split(key)
    others = mask & (jnp.arange(mask.shape[1]) != architecture[:, None])
    has_others = others.any(axis=1)
    decision = jax.random.categorical(which_key, jnp.where(has_others, 0.0, -jnp.inf))
    option = jax.random.categorical(option_key, jnp.where(others[decision], 0.0, -jnp.inf))
    option = jnp.where(has_others[decision], option, architecture[decision])
    return architecture.at[decision].set(option.astype(architecture.dtype))
