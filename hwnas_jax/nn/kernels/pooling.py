"""Pooling over windows of 3x3 and 2x2 pixels.

On CPU the maximum of a window is computed from shifted slices, since XLA:CPU has no fast form for
the gradient of `reduce_window`. On GPU and TPU the form is that of `lax`.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn.kernels.convolution import avg_pool_3x3
from hwnas_jax.nn.platform import target_platform


def max_pool(x: jax.Array, size: int, *, stride: int = 1) -> jax.Array:
    """Returns the largest value of each window.

    Args:
      x: `[B, H, W, C]`.
      size: of the window; a window of odd size is centred on its output.
      stride: step in both directions.

    Returns:
      `[B, ceil(H / stride), ceil(W / stride), C]`.
    """
    chex.assert_rank(x, 4)
    outputs = [-(-length // stride) for length in x.shape[1:3]]
    low = (size - 1) // 2
    pads = [
        (low, max(0, (count - 1) * stride + size - low - length))
        for count, length in zip(outputs, x.shape[1:3], strict=True)
    ]
    if target_platform() == "onnx":
        padded = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
        return nnx.max_pool(padded, window_shape=(size, size), strides=(stride, stride))
    if target_platform() != "cpu":
        padding = ((0, 0), *pads, (0, 0))
        return jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, size, size, 1), (1, stride, stride, 1), padding
        )
    for axis, count in zip((1, 2), outputs, strict=True):
        margins = [(0, 0, 0)] * 4
        margins[axis] = (*pads[axis - 1], 0)
        padded = jax.lax.pad(x, np.array(-np.inf, x.dtype), margins)
        reach = (count - 1) * stride + 1
        parts = [
            jax.lax.slice_in_dim(padded, start, start + reach, stride, axis)
            for start in range(size)
        ]
        x = parts[0]
        for part in parts[1:]:
            x = jnp.maximum(x, part)
    return x


class Pool3x3(nnx.Module):
    """Average (without the padding) or maximum over 3x3 neighbourhoods."""

    def __init__(self, kind: str, stride: int = 1):
        if kind not in ("avg", "max"):
            raise ValueError(f"kind must be avg or max, got {kind!r}")
        self.kind, self.stride = kind, stride

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.kind == "max":
            return max_pool(x, 3, stride=self.stride)
        return avg_pool_3x3(x)[:, :: self.stride, :: self.stride]

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns 0: pooling multiplies nothing."""
        del input_shape
        return 0
