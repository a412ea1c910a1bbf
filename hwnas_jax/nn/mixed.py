"""The mixed operation: one decision's options on one edge, mixed or sampled by its gates."""

from collections.abc import Sequence

import chex
import jax
from flax import nnx

from hwnas_jax.nn.operations import Zero


class MixedOperation(nnx.Module):
    """Candidate operations of equal input and output shape.

    The operations hold no state that changes when they run, so that they may be called inside
    `jax.lax.switch`.
    """

    def __init__(self, operations: Sequence[nnx.Module]):
        self.operations = nnx.List(operations)

    def __call__(self, x: jax.Array, weight: jax.Array, index: jax.Array | None) -> jax.Array:
        """Mixes all operations, or runs one.

        Args:
          x: `[B, H, W, C]`.
          weight: `float32[options]`, the factor on each operation's output.
          index: `int32[]` to run only that operation, or None to run all.
        """
        chex.assert_shape(weight, (len(self.operations),))
        if index is None:
            mixed = [
                weight[i] * operation(x)
                for i, operation in enumerate(self.operations)
                if not isinstance(operation, Zero)
            ]
            return sum(mixed)
        return weight[index] * jax.lax.switch(index, list(self.operations), x)
