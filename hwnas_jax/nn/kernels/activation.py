"""Activations for the cells in which a search spends its time.

`jax.nn.relu` and `jnp.where` are jitted functions, and XLA:CPU does not fuse a function that is
called from several places with anything. In a cell, each would be a separate pass over the image.
"""

import jax

from hwnas_jax.nn.tally import agreement, note


def relu(x: jax.Array) -> jax.Array:
    """Returns `max(x, 0)`. A NaN stays a NaN, so that a search notices it."""
    return note(agreement, lambda: x > 0, jax.lax.select(x <= 0, jax.lax.full_like(x, 0), x))


def where_positive(x: jax.Array, value: jax.Array) -> jax.Array:
    """Returns `value` where `x > 0`, and zero elsewhere; all of one shape."""
    return jax.lax.select(x > 0, value, jax.lax.full_like(value, 0))
