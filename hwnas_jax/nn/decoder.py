"""The end of a network that puts out values for each position of its input.

A decoder reads the output of every stage of the network. A 1x1 convolution brings each to one
width. From the coarsest stage on, the sum so far is resized to the next finer stage and added to
it. Two convolutions then make the outputs, which are resized to the size of the input if the stem
of the network has made the image smaller.

All of this is made of parts that read one value each, and of sums. A space lists these parts among
its operations, so that decoders are counted and timed as everything else is.

Legend: `B` batch, `H, W` height and width of the input, `C` channels of a stage, `D` width of the
decoder, `O` outputs for each position.

References: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017; Kirillov et al.,
"Panoptic Feature Pyramid Networks", CVPR 2019 (the pyramid as a decoder).
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.kernels.convolution import conv2d
from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.operations import Conv, window
from hwnas_jax.nn.resize import Resize, resize
from hwnas_jax.nn.tally import relu

Shape = tuple[int, int, int]


class Lateral(nnx.Module):
    """A 1x1 convolution of a stage's output, `C` to `D` channels.

    It also reads an input of fewer channels than `C`, by the first rows of its kernel: the last
    stage of some supernets has several widths.
    """

    def __init__(self, features: int, width: int, rngs: nnx.Rngs):
        self.conv = Conv(features, width, 1, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return conv2d(x, self.conv.kernel[...][:, :, : x.shape[-1]])

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width, features = input_shape
        return self.conv.macs((height, width, features))


class DecoderEnd(nnx.Module):
    """A 3x3 and a 1x1 convolution, each after normalisation and ReLU; then resizing."""

    def __init__(self, shape: Shape, size: tuple[int, int], outputs: int, norm: Norm, rngs):
        """Draws the weights.

        Args:
          shape: of the input, `(H', W', D)`.
          size: `(H, W)`.
          outputs: `O`.
          norm: factory of normalisations.
          rngs: for the initial weights.
        """
        self.size = size
        self.norm = norm(shape[2], rngs)
        self.conv = Conv(shape[2], shape[2], window(3, shape), rngs)
        self.second_norm = norm(shape[2], rngs)
        self.last = Conv(shape[2], outputs, 1, rngs)
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        x = relu(self.second_norm(self.conv(relu(self.norm(x)))))
        # Resizing last is cheaper than before the convolution, and means the same.
        return resize(self.last(x) + self.bias[...].astype(x.dtype), *self.size)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image; additions of the bias are not counted."""
        height, width, features = input_shape
        return self.conv.macs((height, width, features)) + self.last.macs((height, width, features))


@dataclasses.dataclass(frozen=True)
class DecoderPlan:
    """What a decoder reads and returns.

    Attributes:
      stages: shape `(H', W', C)` of the output of each stage, the finest first.
      width: `D`.
      size: `(H, W)`.
      outputs: `O`.
    """

    stages: tuple[Shape, ...]
    width: int
    size: tuple[int, int]
    outputs: int

    def lateral(self, stage: int, rngs: nnx.Rngs) -> Lateral:
        """Builds the part that reads the output of a stage."""
        return Lateral(self.stages[stage][2], self.width, rngs)

    def resize(self, stage: int) -> Resize | None:
        """Builds the part that resizes a stage's sum to the next finer stage; None for one size."""
        height, width = self.stages[max(stage - 1, 0)][:2]
        return None if self.stages[stage][:2] == (height, width) else Resize(height, width)

    def sum_shape(self, stage: int) -> Shape:
        """Returns the shape of the sum at a stage."""
        return (*self.stages[stage][:2], self.width)

    def end(self, norm: Norm, rngs: nnx.Rngs) -> DecoderEnd:
        """Builds the part that makes the outputs."""
        return DecoderEnd(self.sum_shape(0), self.size, self.outputs, norm, rngs)


class Decoder(nnx.Module):
    """A decoder of all stages: arrays `[B, H', W', C]` of the stages to `[B, H, W, O]`."""

    def __init__(self, plan: DecoderPlan, norm: Norm, rngs: nnx.Rngs):
        stages = range(len(plan.stages))
        self.laterals = nnx.List(plan.lateral(stage, rngs) for stage in stages)
        self.resizes = nnx.List(plan.resize(stage) for stage in stages)
        self.end = plan.end(norm, rngs)

    def begin(self, last: jax.Array) -> jax.Array:
        """Returns what the output of the last stage adds to the stage before it."""
        return self._upwards(len(self.laterals) - 1, self.laterals[-1](last))

    def finish(self, earlier: Sequence[jax.Array], begun: jax.Array) -> jax.Array:
        """Returns the outputs.

        Args:
          earlier: the outputs of all stages but the last.
          begun: as `begin` returns it.
        """
        total = begun
        for stage in reversed(range(len(earlier))):
            total = self._upwards(stage, self.laterals[stage](earlier[stage]) + total)
        return self.end(total)

    def _upwards(self, stage, x):
        part = self.resizes[stage]
        return x if part is None else part(x)
