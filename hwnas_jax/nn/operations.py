"""The modules that cells and their networks are made of, with their multiply-accumulates.

Every module maps `[B, H, W, C]` to `[B, H', W', C']` and says `macs(input_shape)` for one image.
Normalisation comes from a factory, so that the same module serves a supernet, whose normalisation
is stateless, and a stand-alone network, which has running statistics.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.kernels.convolution import avg_pool_2x2, avg_pool_3x3, conv2d
from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.tally import relu

_init = nnx.initializers.he_uniform()

Window = int | tuple[int, int]
"""Height and width of a kernel, or both as one number."""


def window(size: int, input_shape: Sequence[int]) -> tuple[int, int]:
    """Returns height and width of a kernel for inputs of a shape.

    A sequence is an image one pixel high, and a kernel for it is as well.

    Args:
      size: of the kernel along axes longer than one.
      input_shape: `(H, W, C)`.

    >>> window(3, (8, 8, 1)), window(3, (1, 8, 1))
    ((3, 3), (1, 3))
    """
    return (1 if input_shape[0] == 1 else size), size


def both(size: Window) -> tuple[int, int]:
    """Returns height and width of a kernel."""
    return (size, size) if isinstance(size, int) else size


class Conv(nnx.Module):
    """A convolution without bias, `C` to `C'` channels."""

    def __init__(
        self, features_in: int, features_out: int, kernel: Window, rngs: nnx.Rngs, stride: int = 1
    ):
        self.stride = stride
        self.kernel = nnx.Param(
            _init(rngs.params(), (*both(kernel), features_in, features_out), jnp.float32)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return conv2d(x, self.kernel[...], stride=self.stride)

    def macs(self, input_shape: tuple[int, int, int]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width = (-(-size // self.stride) for size in input_shape[:2])
        return height * width * math.prod(self.kernel.shape)


class ReLUConvNorm(nnx.Module):
    """ReLU, convolution, batch normalisation: the convolution of NAS-Bench-201's cells.

    References: Dong and Yang, "NAS-Bench-201", 2020.
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        kernel: Window,
        norm: Norm,
        rngs: nnx.Rngs,
        stride: int = 1,
    ):
        self.conv = Conv(features_in, features_out, kernel, rngs, stride)
        self.norm = norm(features_out, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(relu(x)))

    def macs(self, input_shape: tuple[int, int, int]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        return self.conv.macs(input_shape)


class ResidualReduction(nnx.Module):
    """Halves the image and changes the channels: two 3x3 convolutions, beside a pool and a 1x1."""

    def __init__(
        self, features_in: int, features_out: int, norm: Norm, rngs: nnx.Rngs, kernel: Window = 3
    ):
        self.first = ReLUConvNorm(features_in, features_out, kernel, norm, rngs, stride=2)
        self.second = ReLUConvNorm(features_out, features_out, kernel, norm, rngs)
        self.shortcut = Conv(features_in, features_out, 1, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.shortcut(avg_pool_2x2(x)) + self.second(self.first(x))

    def macs(self, input_shape: tuple[int, int, int]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width = (-(-size // 2) for size in input_shape[:2])
        features_in, features_out = self.shortcut.kernel.shape[2:]
        return (
            self.first.macs(input_shape)
            + self.second.macs((height, width, features_out))
            + self.shortcut.macs((height, width, features_in))
        )


class Stem(nnx.Module):
    """The first convolution and its normalisation."""

    def __init__(
        self, features_in: int, features_out: int, norm: Norm, rngs: nnx.Rngs, kernel: Window = 3
    ):
        self.conv = Conv(features_in, features_out, kernel, rngs)
        self.norm = norm(features_out, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(x))

    def macs(self, input_shape: tuple[int, int, int]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        return self.conv.macs(input_shape)


class Head(nnx.Module):
    """Normalisation, ReLU, global average and a linear layer."""

    def __init__(self, features: int, num_outputs: int, norm: Norm, rngs: nnx.Rngs):
        self.norm = norm(features, rngs)
        self.linear = nnx.Linear(features, num_outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.linear(relu(self.norm(x)).mean((1, 2)))

    def macs(self, input_shape: tuple[int, int, int]) -> int:
        """Returns multiply-accumulates and bias additions for one image."""
        del input_shape
        return (self.linear.in_features + 1) * self.linear.out_features


class AvgPool3x3(nnx.Module):
    """Average over 3x3 neighbourhoods at stride one, without the padding."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return avg_pool_3x3(x)

    def macs(self, input_shape: tuple[int, int, int]) -> int:
        """Returns 0: pooling multiplies nothing."""
        del input_shape
        return 0


class Identity(nnx.Module):
    """Passes its input on."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x

    def macs(self, input_shape: tuple[int, int, int]) -> int:
        """Returns 0."""
        del input_shape
        return 0


class Zero(nnx.Module):
    """Cuts an edge: returns zeros in the shape that the edge's other operations return."""

    def __init__(self, features: int, stride: int = 1):
        self.features, self.stride = features, stride

    def __call__(self, x: jax.Array) -> jax.Array:
        height, width = (-(-size // self.stride) for size in x.shape[1:3])
        return jnp.zeros((x.shape[0], height, width, self.features), x.dtype)

    def macs(self, input_shape: tuple[int, int, int]) -> int:
        """Returns 0."""
        del input_shape
        return 0
