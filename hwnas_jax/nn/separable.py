"""Operations of DARTS's cells: separable and dilated convolutions, and a factorised reduction.

Every module maps `[B, H, W, C]` to `[B, H', W', C']` and says `macs(input_shape)` for one image.
Normalisation comes from a factory, as in `hwnas_jax.nn.operations`.

References: Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", 2018;
Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.kernels.depthwise import depthwise_conv
from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.operations import Conv, Window, both
from hwnas_jax.nn.tally import relu

_init = nnx.initializers.he_uniform()


class DilConv(nnx.Module):
    """ReLU, convolution of each channel, 1x1 convolution, normalisation."""

    def __init__(
        self,
        features_in: int,
        features_out: int,
        kernel: Window,
        norm: Norm,
        rngs: nnx.Rngs,
        *,
        stride: int = 1,
        dilation: int = 2,
    ):
        self.stride, self.dilation = stride, dilation
        # Each output reads one channel, so the fan-in is the area of the kernel.
        drawn = _init(rngs.params(), (*both(kernel), 1, features_in), jnp.float32)
        self.kernel = nnx.Param(drawn[:, :, 0])
        self.pointwise = Conv(features_in, features_out, 1, rngs)
        self.norm = norm(features_out, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(x.dtype)
        x = relu(x)
        x = depthwise_conv(x, kernel, stride=self.stride, dilation=self.dilation)
        return self.norm(self.pointwise(x))

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width = (-(-size // self.stride) for size in input_shape[:2])
        inner = (height, width, self.kernel.shape[2])
        return height * width * math.prod(self.kernel.shape) + self.pointwise.macs(inner)


class SepConv(nnx.Module):
    """Twice ReLU, convolution of each channel, 1x1 convolution, normalisation."""

    def __init__(
        self,
        features_in: int,
        features_out: int,
        kernel: Window,
        norm: Norm,
        rngs: nnx.Rngs,
        *,
        stride: int = 1,
    ):
        self.first = DilConv(
            features_in, features_in, kernel, norm, rngs, stride=stride, dilation=1
        )
        self.second = DilConv(features_in, features_out, kernel, norm, rngs, dilation=1)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(self.first(x))

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width = (-(-size // self.first.stride) for size in input_shape[:2])
        return self.first.macs(input_shape) + self.second.macs((height, width, input_shape[2]))


class FactorisedReduction(nnx.Module):
    """ReLU, two 1x1 convolutions at stride two, of which one is moved by a pixel, normalisation.

    Together they see a pixel of every row and of every column. Odd sizes get a line of zeros.
    Along an axis of one pixel nothing is moved.
    """

    def __init__(self, features_in: int, features_out: int, norm: Norm, rngs: nnx.Rngs):
        half = features_out // 2
        self.first = Conv(features_in, half, 1, rngs, stride=2)
        self.second = Conv(features_in, features_out - half, 1, rngs, stride=2)
        self.norm = norm(features_out, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = relu(x)
        down, right = (min(size - 1, 1) for size in x.shape[1:3])
        odd = [(0, size % 2 if size > 1 else 0) for size in x.shape[1:3]]
        moved = jnp.pad(x, ((0, 0), *odd, (0, 0)))[:, down:, right:]
        return self.norm(jnp.concatenate([self.first(x), self.second(moved)], -1))

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width, features = input_shape
        return sum(conv.macs((height, width, features)) for conv in (self.first, self.second))
