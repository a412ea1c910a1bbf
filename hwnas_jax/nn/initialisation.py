"""Random keys for initial weights that compile quickly."""

import jax
import jax.numpy as jnp
from flax import nnx


def weight_rngs(key: jax.Array) -> nnx.Rngs:
    """Returns the random streams for a module's initial weights.

    The default generator is written out in full for every array, which takes XLA many times as
    long to compile as a network's forward pass; the backend's own generator is one instruction.

    Args:
      key: a typed key, `key[]`.
    """
    data = jax.random.key_data(key).astype(jnp.uint32)
    return nnx.Rngs(jax.random.wrap_key_data(jnp.concatenate([data, data[::-1]]), impl="rbg"))
