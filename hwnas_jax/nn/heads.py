"""The heads of a network: one for each of its outputs, on the same features.

A head for a vector reads the output of the last stage; every space has its own. A head for values
at each position is a decoder, which reads the outputs of all stages.

Legend: `B` batch, `O` channels of an output.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.decoder import Decoder, DecoderPlan, Shape
from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.outputs import Output

VectorHead = Callable[[int, int, Norm, nnx.Rngs], nnx.Module]
"""`(features, O, norm, rngs) -> module`; the module maps `[B, H, W, C]` to `[B, O]`."""


@dataclasses.dataclass(frozen=True, eq=False)
class HeadsPlan:
    """What the heads of a network read and return.

    Attributes:
      outputs: what the network puts out.
      input_shape: of one example, `(H, W, C)`.
      stages: shape `(H', W', C)` of the output of each stage, the finest first.
      width: channels of the decoders.
      vector: builds a head for a vector.
    """

    outputs: tuple[Output, ...]
    input_shape: Shape
    stages: tuple[Shape, ...]
    width: int
    vector: VectorHead

    @property
    def is_vector(self) -> bool:
        """Whether the network puts out one vector and nothing else."""
        return [output.dense for output in self.outputs] == [False]

    def decoder(self, output: Output) -> DecoderPlan:
        """Returns the plan of the decoder for a dense output."""
        size = self.input_shape[:2]
        return DecoderPlan(self.stages, self.width, size, output.channels)

    def vector_head(self, output: Output, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        """Builds the head for a vector."""
        return self.vector(self.stages[-1][2], output.channels, norm, rngs)

    def build(self, norm: Norm, rngs: nnx.Rngs) -> "Heads":
        """Builds the heads."""
        return Heads(self, norm, rngs)


class Heads(nnx.Module):
    """All heads: arrays `[B, H', W', C]` of the stages to `[B, *output_shape]`.

    Several outputs stand side by side in one vector, as `hwnas_jax.nn.outputs.output_shape` says.

    Attributes:
      log_variances: `float32[number of outputs]`, where there are several.
    """

    def __init__(self, plan: HeadsPlan, norm: Norm, rngs: nnx.Rngs):
        self.heads: Any = nnx.List(
            Decoder(plan.decoder(output), norm, rngs)
            if output.dense
            else plan.vector_head(output, norm, rngs)
            for output in plan.outputs
        )
        several = len(plan.outputs) > 1
        self.log_variances = nnx.data(nnx.Param(jnp.zeros(len(plan.outputs))) if several else None)

    def __call__(self, stages: Sequence[jax.Array]) -> jax.Array:
        return self.finish(stages[:-1], self.begin(stages[-1]))

    def begin(self, last: jax.Array) -> tuple[jax.Array, ...]:
        """Returns what each head makes of the output of the last stage alone.

        It is linear in what follows: a mean of such results is the mean over networks whose last
        stages differ.
        """
        return tuple(
            head.begin(last) if isinstance(head, Decoder) else head(last) for head in self.heads
        )

    def finish(self, earlier: Sequence[jax.Array], begun: Sequence[jax.Array]) -> jax.Array:
        """Returns the outputs, `[B, *output_shape]`.

        Args:
          earlier: the outputs of all stages but the last.
          begun: as `begin` returns it.
        """
        made = [
            head.finish(earlier, each) if isinstance(head, Decoder) else each
            for head, each in zip(self.heads, begun, strict=True)
        ]
        if self.log_variances is None:
            return made[0]
        flat = [value.reshape(value.shape[0], math.prod(value.shape[1:])) for value in made]
        doubts = self.log_variances[...].astype(flat[0].dtype)
        doubts = jnp.broadcast_to(doubts, (flat[0].shape[0], len(made)))
        return jnp.concatenate([*flat, doubts], axis=1)
