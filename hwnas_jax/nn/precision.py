"""The type that activations and matrix products are computed in.

Parameters, optimiser states, running statistics, outputs and losses stay float32. Weights are cast
when they enter the network, so that their gradients arrive in float32.
"""

from typing import Any

import jax
import jax.numpy as jnp

from hwnas_jax.errors import choose

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def compute_dtype(name: str, key: str) -> Any:
    """Returns the type called `name`.

    Args:
      name: "float32" or "bfloat16".
      key: the config key that named it, for the message.

    Raises:
      UserError: for any other type.
    """
    return DTYPES[choose(name, DTYPES, f"value of {key}")]


def cast(tree: Any, dtype: Any) -> Any:
    """Returns `tree` with its floating-point leaves cast to `dtype`."""

    def one(leaf):
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(one, tree)
