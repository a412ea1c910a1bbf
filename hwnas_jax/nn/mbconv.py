"""The inverted residual block of mobile networks, and the layers around it.

Every module maps `[B, H, W, C]` to `[B, H', W', C']` and says `macs(input_shape)` for one image.
Normalisation comes from a factory, as in `hwnas_jax.nn.operations`.

References: Sandler et al., "MobileNetV2", 2018; Howard et al., "Searching for MobileNetV3", 2019;
Hu et al., "Squeeze-and-Excitation Networks", 2018; Zhang et al., "ShuffleNet", 2018.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.kernels.convolution import conv2d, matmul
from hwnas_jax.nn.kernels.depthwise import depthwise_conv
from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.operations import Window, both
from hwnas_jax.nn.tally import relu, relu6

_init = nnx.initializers.he_uniform()

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": relu,
    "relu6": relu6,
    "swish": jax.nn.swish,
    "hard_swish": jax.nn.hard_swish,
}


def round_channels(channels: float, divisor: int = 8) -> int:
    """Returns the nearest multiple of `divisor` that is at most a tenth below `channels`.

    >>> round_channels(32 * 0.35), round_channels(20)
    (16, 24)
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class ConvNorm(nnx.Module):
    """Convolution, normalisation, and perhaps an activation. Only 1x1 convolutions have groups."""

    def __init__(
        self,
        features_in: int,
        features_out: int,
        kernel: Window,
        norm: Norm,
        rngs: nnx.Rngs,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: str | None = None,
    ):
        if groups > 1 and kernel != 1:
            raise ValueError(f"only 1x1 convolutions have groups here, got kernel {kernel}")
        self.stride, self.groups, self.activation = stride, groups, activation
        shape = (*both(kernel), features_in // groups, features_out)
        self.kernel = nnx.Param(_init(rngs.params(), shape, jnp.float32))
        self.norm = norm(features_out, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(x.dtype)
        if self.groups == 1:
            x = conv2d(x, kernel, stride=self.stride)
        else:
            inputs = jnp.split(x[:, :: self.stride, :: self.stride], self.groups, axis=-1)
            kernels = jnp.split(kernel[0, 0], self.groups, axis=-1)
            parts = [matmul(a, b) for a, b in zip(inputs, kernels, strict=True)]
            x = jnp.concatenate(parts, axis=-1)
        x = self.norm(x)
        return x if self.activation is None else ACTIVATIONS[self.activation](x)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width = (-(-size // self.stride) for size in input_shape[:2])
        return height * width * math.prod(self.kernel.shape)


class DepthwiseNorm(nnx.Module):
    """Depthwise convolution, normalisation, activation."""

    def __init__(
        self,
        features: int,
        kernel: Window,
        norm: Norm,
        rngs: nnx.Rngs,
        *,
        stride: int = 1,
        activation: str | None = None,
    ):
        self.stride, self.activation = stride, activation
        # Each output reads one channel, so the fan-in is the area of the kernel.
        drawn = _init(rngs.params(), (*both(kernel), 1, features), jnp.float32)
        self.kernel = nnx.Param(drawn[:, :, 0])
        self.norm = norm(features, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = depthwise_conv(x, self.kernel[...].astype(x.dtype), stride=self.stride)
        x = self.norm(x)
        return x if self.activation is None else ACTIVATIONS[self.activation](x)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width = (-(-size // self.stride) for size in input_shape[:2])
        return height * width * math.prod(self.kernel.shape)


class SqueezeExcite(nnx.Module):
    """Scales each channel by a factor that a small network computes from the channels' means."""

    def __init__(self, features: int, reduced: int, rngs: nnx.Rngs, *, activation: str = "relu"):
        self.activation = activation
        self.reduce = nnx.Linear(features, reduced, rngs=rngs)
        self.expand = nnx.Linear(reduced, features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        squeezed = ACTIVATIONS[self.activation](self.reduce(x.mean((1, 2))))
        scale = jax.nn.sigmoid(self.expand(squeezed)).astype(x.dtype)
        return x * scale[:, None, None]

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates of the two products for one image."""
        del input_shape
        return 2 * math.prod(self.reduce.kernel.shape)


class MBConv(nnx.Module):
    """Inverted residual: expand, convolve each channel, perhaps excite, project.

    The input is added if the shapes allow it. An expansion of one leaves the first product out,
    unless `always_expand` keeps it, as in FBNet.
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        norm: Norm,
        rngs: nnx.Rngs,
        *,
        kernel: Window = 3,
        expansion: float = 6,
        stride: int = 1,
        activation: str = "relu6",
        se_features: int = 0,
        groups: int = 1,
        always_expand: bool = False,
        residual: bool = True,
    ):
        """Builds the block.

        Args:
          features_in: `C`.
          features_out: `C'`.
          norm: factory of normalisations.
          rngs: for the initial weights.
          kernel: size of the depthwise convolution.
          expansion: width between the products, as a multiple of `features_in`.
          stride: of the depthwise convolution.
          activation: a key of `ACTIVATIONS`.
          se_features: width of squeeze-excitation; zero leaves it out.
          groups: of both products; the channels are shuffled after the first.
          always_expand: keep the first product also at an expansion of one.
          residual: add the input if the shapes allow it.
        """
        middle = round(features_in * expansion)
        self.groups, self.middle = groups, middle
        self.residual = residual and stride == 1 and features_in == features_out
        expands = middle != features_in or always_expand
        self.expand = (
            ConvNorm(features_in, middle, 1, norm, rngs, groups=groups, activation=activation)
            if expands else None
        )  # fmt: skip
        self.depthwise = DepthwiseNorm(
            middle, kernel, norm, rngs, stride=stride, activation=activation
        )
        self.excite = SqueezeExcite(middle, se_features, rngs) if se_features else None
        self.project = ConvNorm(middle, features_out, 1, norm, rngs, groups=groups)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        if self.expand is not None:
            y = self.expand(y)
            if self.groups > 1:
                y = shuffle(y, self.groups)
        y = self.narrow(self.depthwise(y))
        return x + y if self.residual else y

    def narrow(self, y: jax.Array) -> jax.Array:
        """Runs the part after the depthwise convolution: excitation and the last product."""
        return self.project(y if self.excite is None else self.excite(y))

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        total = 0
        if self.expand is not None:
            total += self.expand.macs(input_shape)
        total += self.depthwise.macs(input_shape)
        height, width = (-(-size // self.depthwise.stride) for size in input_shape[:2])
        inner = (height, width, self.depthwise.kernel.shape[-1])
        if self.excite is not None:
            total += self.excite.macs(inner)
        return total + self.project.macs(inner)


class ConvHead(nnx.Module):
    """The end of mobile networks: a 1x1 convolution, the image's mean, a linear classifier."""

    def __init__(
        self,
        features_in: int,
        features: int,
        num_outputs: int,
        norm: Norm,
        rngs: nnx.Rngs,
        *,
        activation: str,
    ):
        self.conv = ConvNorm(features_in, features, 1, norm, rngs, activation=activation)
        self.linear = nnx.Linear(features, num_outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.linear(self.conv(x).mean((1, 2)))

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image; additions of the bias are not counted."""
        return self.conv.macs(input_shape) + math.prod(self.linear.kernel.shape)


def shuffle(x: jax.Array, groups: int) -> jax.Array:
    """Spreads the channels of each group of `x` (`[B, H, W, C]`) over all groups."""
    *rest, channels = x.shape
    parts = x.reshape(*rest, groups, channels // groups)
    return parts.swapaxes(-1, -2).reshape(x.shape)
