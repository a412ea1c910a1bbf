"""The residual block of TransNAS-Bench-101's networks, each convolution after its activation."""

import jax
from flax import nnx

from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.operations import Conv, ReLUConvNorm, Window


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions beside the input, or beside a 1x1 convolution if the shape changes.

    References: Duan et al., "TransNAS-Bench-101: Improving Transferability and Generalizability
    of Cross-Task Neural Architecture Search", CVPR 2021.
    """

    def __init__(
        self, features_in: int, features_out: int, norm: Norm, rngs: nnx.Rngs, *, stride: int = 1,
        kernel: Window = 3,
    ):  # fmt: skip
        self.first = ReLUConvNorm(features_in, features_out, kernel, norm, rngs, stride=stride)
        self.second = ReLUConvNorm(features_out, features_out, kernel, norm, rngs)
        keeps = stride == 1 and features_in == features_out
        self.shortcut = None if keeps else _Shortcut(features_in, features_out, norm, rngs, stride)

    def __call__(self, x: jax.Array) -> jax.Array:
        beside = x if self.shortcut is None else self.shortcut(x)
        return beside + self.second(self.first(x))

    def macs(self, input_shape: tuple[int, int, int]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        stride, features = self.first.conv.stride, self.second.conv.kernel.shape[2]
        height, width = (-(-size // stride) for size in input_shape[:2])
        total = self.first.macs(input_shape) + self.second.macs((height, width, features))
        return total + (0 if self.shortcut is None else self.shortcut.conv.macs(input_shape))


class _Shortcut(nnx.Module):
    def __init__(self, features_in, features_out, norm, rngs, stride):
        self.conv = Conv(features_in, features_out, 1, rngs, stride)
        self.norm = norm(features_out, rngs)

    def __call__(self, x):
        return self.norm(self.conv(x))


class BasicModule(nnx.Module):
    """Two blocks, the first of which may change the shape."""

    def __init__(
        self, features_in: int, features_out: int, norm: Norm, rngs: nnx.Rngs, *, stride: int = 1,
        kernel: Window = 3,
    ):  # fmt: skip
        self.first = BasicBlock(features_in, features_out, norm, rngs, stride=stride, kernel=kernel)
        self.second = BasicBlock(features_out, features_out, norm, rngs, kernel=kernel)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(self.first(x))

    def macs(self, input_shape: tuple[int, int, int]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        stride, features = self.first.first.conv.stride, self.second.first.conv.kernel.shape[2]
        height, width = (-(-size // stride) for size in input_shape[:2])
        return self.first.macs(input_shape) + self.second.macs((height, width, features))
