"""The stem that the networks of TransNAS-Bench-101 share.

References: Duan et al., "TransNAS-Bench-101: Improving Transferability and Generalizability of
Cross-Task Neural Architecture Search", CVPR 2021.
"""

import jax
from flax import nnx

from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.normalisation import Norm


class Stem(nnx.Module):
    """Two 3x3 convolutions, the first to half the channels."""

    def __init__(
        self, features_in: int, features_out: int, halvings: int, norm: Norm, rngs: nnx.Rngs, *,
        kernel: ops.Window = 3,
    ):  # fmt: skip
        """Draws the weights.

        Args:
          features_in: channels of the image.
          features_out: channels of the stem's output, an even number.
          halvings: how often the stem halves the image, at most twice.
          norm: factory of normalisations.
          rngs: for the initial weights.
          kernel: height and width of both convolutions.
        """
        strides = [2 if n >= 2 - halvings else 1 for n in range(2)]
        half = features_out // 2
        self.conv = ops.Conv(features_in, half, kernel, rngs, strides[0])
        self.norm = norm(half, rngs)
        self.second = ops.ReLUConvNorm(half, features_out, kernel, norm, rngs, stride=strides[1])

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(self.norm(self.conv(x)))

    def macs(self, input_shape: tuple[int, int, int]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width = (-(-size // self.conv.stride) for size in input_shape[:2])
        half = self.conv.kernel.shape[-1]
        return self.conv.macs(input_shape) + self.second.macs((height, width, half))
