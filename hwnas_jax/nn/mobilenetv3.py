"""Blocks of MobileNetV3: inverted residuals whose excitation has a hard sigmoid, and the head.

Every module maps `[B, H, W, C]` to `[B, H', W', C']`, the head to the network's outputs, and says
`macs(input_shape)` for one image.

References: Howard et al., "Searching for MobileNetV3", 2019.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.mbconv import ConvNorm, DepthwiseNorm, SqueezeExcite, round_channels
from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.tally import relu

_init = nnx.initializers.he_uniform()


def excited_width(middle: int) -> int:
    """Returns the width of squeeze-excitation for `middle` channels, as in MobileNetV3."""
    return round_channels(middle // 4)


def fit_channels(x: jax.Array, features: int) -> jax.Array:
    """Returns the first `features` channels of `x` (`[..., C]`), filled up with zeros."""
    missing = features - x.shape[-1]
    if missing > 0:
        return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
    return x[..., :features]


class HardExcite(SqueezeExcite):
    """Squeeze-excitation with a piecewise linear sigmoid, which can run on its first channels."""

    def __call__(
        self, x: jax.Array, reduced: int | None = None, mask: jax.Array | None = None
    ) -> jax.Array:
        """Scales the channels of `x`.

        Args:
          x: `[B, H, W, c]`, the first `c` of the channels.
          reduced: the number of hidden values to use, the first ones; all by default.
          mask: `float32[hidden]`, a factor on each hidden value.
        """
        used = x.shape[-1]
        into, back = (
            self.reduce.kernel[..., :used, :reduced],
            self.expand.kernel[..., :reduced, :used],
        )
        hidden = x.mean((1, 2)) @ into.astype(x.dtype) + self._bias(self.reduce, reduced, x)
        hidden = relu(hidden)
        hidden = hidden if mask is None else hidden * mask.astype(x.dtype)
        scale = jax.nn.hard_sigmoid(
            hidden @ back.astype(x.dtype) + self._bias(self.expand, used, x)
        )
        return x * scale[:, None, None]

    def _bias(self, linear, size, x):
        return linear.bias[..., :size].astype(x.dtype)


class InvertedResidual(nnx.Module):
    """The block that an elastic layer becomes: expand, convolve each channel, excite, project.

    With `residual` the input is added; if it has another number of channels, it is cut or filled
    with zeros.
    """

    def __init__(
        self,
        inputs: int,
        middle: int,
        features: int,
        norm: Norm,
        rngs: nnx.Rngs,
        *,
        kernel: int,
        stride: int = 1,
        activation: str = "relu6",
        excited: int = 0,
        residual: bool = False,
    ):
        """Builds the block.

        Args:
          inputs: input channels.
          middle: channels between the products.
          features: output channels.
          norm: factory of normalisations.
          rngs: for the initial weights.
          kernel: size of the depthwise convolution.
          stride: of the depthwise convolution.
          activation: a key of `hwnas_jax.nn.mbconv.ACTIVATIONS`.
          excited: width of squeeze-excitation; zero leaves it out.
          residual: add the input.
        """
        self.features, self.residual = features, residual
        self.expand = ConvNorm(inputs, middle, 1, norm, rngs, activation=activation)
        self.depthwise = DepthwiseNorm(
            middle, kernel, norm, rngs, stride=stride, activation=activation
        )
        self.excite = HardExcite(middle, excited, rngs) if excited else None
        self.project = ConvNorm(middle, features, 1, norm, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.depthwise(self.expand(x))
        y = self.project(y if self.excite is None else self.excite(y))
        return y + fit_channels(x, self.features) if self.residual else y

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        total = self.expand.macs(input_shape) + self.depthwise.macs(input_shape)
        height, width = (-(-size // self.depthwise.stride) for size in input_shape[:2])
        inner = (height, width, self.depthwise.kernel.shape[-1])
        total += 0 if self.excite is None else self.excite.macs(inner)
        return total + self.project.macs(inner)


class MixedHead(nnx.Module):
    """The end of the network: a 1x1 convolution, the image's mean, a product, a linear layer."""

    def __init__(
        self,
        inputs: int,
        expanded: int,
        features: int,
        num_outputs: int,
        norm: Norm,
        rngs: nnx.Rngs,
    ):
        """Builds the head.

        Args:
          inputs: input channels.
          expanded: channels of the convolution.
          features: outputs of the product, which has neither bias nor normalisation.
          num_outputs: outputs of the network.
          norm: factory of normalisations.
          rngs: for the initial weights.
        """
        self.conv = ConvNorm(inputs, expanded, 1, norm, rngs, activation="hard_swish")
        self.mix = nnx.Param(_init(rngs.params(), (expanded, features), jnp.float32))
        self.linear = nnx.Linear(features, num_outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv(x).mean((1, 2))
        return self.linear(jax.nn.hard_swish(x @ self.mix[...].astype(x.dtype)))

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image; additions of the bias are not counted."""
        products = (self.mix.shape, self.linear.kernel.shape)
        return self.conv.macs(input_shape) + sum(map(math.prod, products))
