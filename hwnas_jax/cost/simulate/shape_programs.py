"""Networks and operations as functions of weights and images that are only shapes.

A compiler, a simulator and a count of live bytes read a program without running it, so they need no
values.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.spaces.base import Operation, Space


class Program(NamedTuple):
    """A module in inference mode.

    Attributes:
      call: `(weights, images) -> output`, pure.
      weights: shapes and types of its parameters and running statistics.
      images: shape and type of its input, `[B, *input_shape]`.
    """

    call: Callable[[list[Any], jax.Array], jax.Array]
    weights: list[jax.ShapeDtypeStruct]
    images: jax.ShapeDtypeStruct


def network_program(
    space: Space, architecture: np.ndarray, batch_size: int = 1, dtype: Any = jnp.float32
) -> Program:
    """Returns a stand-alone network as a program.

    Args:
      space: the search space.
      architecture: `int32[D]`.
      batch_size: images per call.
      dtype: of weights and images.
    """
    architecture = space.check(architecture)
    shape = (batch_size, *space.input_shape)
    return _program(lambda rngs: space.network(architecture, rngs), shape, dtype)


def operation_program(
    operation: Operation, batch_size: int = 1, dtype: Any = jnp.float32
) -> Program:
    """Returns an operation as a program, as `network_program` does a network."""
    shape = (batch_size, *operation.input_shape)
    return _program(operation.build, shape, dtype)


def _program(build, shape, dtype):
    module = abstract(build)
    module.eval()
    graph, state = nnx.split(module)
    leaves, structure = jax.tree.flatten(state)

    def call(weights, images):
        return nnx.merge(graph, jax.tree.unflatten(structure, weights))(images)

    def typed(leaf):
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jax.ShapeDtypeStruct(leaf.shape, dtype if floating else leaf.dtype)

    return Program(call, [typed(leaf) for leaf in leaves], jax.ShapeDtypeStruct(shape, dtype))
