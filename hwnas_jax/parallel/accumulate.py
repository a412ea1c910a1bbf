"""Splits a batch into micro-batches that run one after another, so that only one needs memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def mean_over_micro_batches(function: Callable[..., Any], count: int, *arrays: Any) -> Any:
    """Averages `function` over equal parts of a batch.

    Like a replica's share of a batch, a micro-batch has batch statistics of its own.

    Args:
      function: `(*parts) -> tree` of floating-point arrays.
      count: how many parts; with one part `function` gets the whole batch.
      arrays: pytrees of arrays with the batch, `B`, along their first axis; `count` divides `B`.

    Returns:
      What `function` returns, every leaf the mean over the parts.

    Raises:
      ValueError: when `count` does not divide `B`.
    """
    if count == 1:
        return function(*arrays)
    for leaf in jax.tree.leaves(arrays):
        if leaf.shape[0] % count:
            raise ValueError(f"{count} micro-batches do not divide a batch of {leaf.shape[0]}")
    parts = jax.tree.map(lambda leaf: leaf.reshape(count, -1, *leaf.shape[1:]), arrays)

    def add(total, part):
        return jax.tree.map(jnp.add, total, function(*part)), None

    shapes = jax.eval_shape(function, *jax.tree.map(lambda leaf: leaf[0], parts))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    total, _ = jax.lax.scan(add, zeros, parts)
    return jax.tree.map(lambda leaf: leaf / count, total)
