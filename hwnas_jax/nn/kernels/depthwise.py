"""Depthwise convolution: each channel has a kernel of its own.

XLA:CPU has no fast form for it. There it is a sum of shifted images, each times one tap of the
kernel. On GPU and TPU the form is that of `lax`. Arrays are NHWC, and padding is symmetric and
keeps the size at stride one.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.nn.platform import target_platform


def depthwise_conv(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1
) -> jax.Array:
    """Convolves each channel of `x` with its own kernel.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[h, w, C]`, `h` and `w` odd.
      stride: step in both directions.
      dilation: spacing of the kernel's taps.

    Returns:
      `[B, ceil(H / stride), ceil(W / stride), C]`.
    """
    chex.assert_rank([x, kernel], [4, 3])
    chex.assert_equal(kernel.shape[2], x.shape[3])
    chex.assert_equal(kernel.shape[0] % 2, 1)
    margins = [dilation * (size // 2) for size in kernel.shape[:2]]
    if target_platform() != "cpu":
        return jax.lax.conv_general_dilated(
            x, kernel[:, :, None], (stride, stride), [(margin, margin) for margin in margins],
            rhs_dilation=(dilation, dilation), dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[3],
        )  # fmt: skip
    edges = [(margin, margin, 0) for margin in margins]
    padded = jax.lax.pad(x, np.zeros((), x.dtype), ((0, 0, 0), *edges, (0, 0, 0)))
    batch, height, width, channels = x.shape
    last = (-(-height // stride) - 1) * stride, (-(-width // stride) - 1) * stride
    total = None
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            start = (0, row * dilation, column * dilation, 0)
            end = (batch, start[1] + last[0] + 1, start[2] + last[1] + 1, channels)
            window = jax.lax.slice(padded, start, end, (1, stride, stride, 1))
            tap = window * kernel[row, column]
            total = tap if total is None else jax.lax.add(total, tap)
    return jnp.asarray(total)
