"""The norm of each array of weights, also where a module stacks the weights of several layers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

STACK_AXES = "stack_axes"
"""The attribute by which a module says how many leading axes its weights have in front of those of
one layer. Modules inside it may add axes of their own."""


def norms_by_layer(module: nnx.Module) -> Callable[[Any], jax.Array]:
    """Returns the function from arrays like a module's parameters to their norms, `float32[T]`.

    There is one norm for each array of each layer, in the order of the parameters.

    Args:
      module: its structure is read; its arrays may be shapes.
    """
    axes = {path: getattr(node, STACK_AXES, 0) for path, node in nnx.iter_graph(module)}

    def stacked(path: tuple[Any, ...]) -> int:
        return sum(axes.get(path[:end], 0) for end in range(len(path) + 1))

    flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
    counts = [stacked(path) for path, _ in flat]

    def norms(state: Any) -> jax.Array:
        found = []
        for count, leaf in zip(counts, jax.tree.leaves(state), strict=True):
            own = leaf.astype(jnp.float32)
            found.append(jnp.sqrt((own**2).sum(tuple(range(count, own.ndim)))).reshape(-1))
        return jnp.concatenate(found)

    return norms
