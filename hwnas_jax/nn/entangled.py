"""Small modules whose weights are the leading parts of the weights of a large module.

References: Chen et al., "AutoFormer: Searching Transformers for Visual Recognition", ICCV 2021
(weight entanglement).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.initialisation import abstract


def leading(source: Any, like: Any, number: int | None = None) -> Any:
    """Returns the leading part of every array of `source`, in the shape of its counterpart.

    Args:
      source: the large module's weights.
      like: arrays or shapes in the same structure, which give the shapes.
      number: the number of the module if `source` holds stacked modules.
    """
    leaves, structure = jax.tree.flatten(source)
    shapes = tuple(leaf.shape for leaf in jax.tree.leaves(like))
    return jax.tree.unflatten(structure, _cut(leaves, shapes, number))


@functools.partial(jax.jit, static_argnums=1)
def _cut(leaves, shapes, number):
    own = leaves if number is None else [leaf[number] for leaf in leaves]
    return [leaf[tuple(map(slice, shape))] for leaf, shape in zip(own, shapes, strict=True)]


def leading_branch(
    build: Callable[[nnx.Rngs], nnx.Module],
    *,
    inputs: int | None = None,
    outputs: int | None = None,
) -> Callable[..., jax.Array]:
    """Returns a branch for `run_drawn_block` that runs a small module with a large one's weights.

    Args:
      build: makes the small module.
      inputs: the number of leading channels of the input that it reads; None reads all.
      outputs: the number of channels of the result, which is filled up with zeros; None leaves the
        module's own channels.

    Returns:
      `(x, state of the large module, factor) -> factor * small module(x)`.
    """
    graph, like = nnx.split(abstract(build))

    def run(x, state, factor):
        small = nnx.merge(graph, leading(state, like))
        values = small(x[..., :inputs])
        values = (factor * values).astype(x.dtype)
        if outputs is None:
            return values
        spare = [(0, 0)] * (values.ndim - 1) + [(0, outputs - values.shape[-1])]
        return jnp.pad(values, spare)

    return run
