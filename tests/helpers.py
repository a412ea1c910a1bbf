"""What several tests build."""

from collections.abc import Callable

import jax
from flax import nnx

from hwnas_jax.nn.initialisation import weight_rngs


def initialise(build: Callable[[nnx.Rngs], nnx.Module], seed: int = 0) -> nnx.Module:
    """Returns the module with weights drawn in one compiled program; eager drawing is slow."""
    graph = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))[0]
    draw = jax.jit(lambda key: nnx.split(build(weight_rngs(key)))[1])
    return nnx.merge(graph, draw(jax.random.key(seed)))
