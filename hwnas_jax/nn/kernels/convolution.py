"""Convolution and average pooling in the form that is fast on the backend in use.

Arrays are NHWC, kernels are HWIO, and padding is symmetric and keeps the size at stride one.

XLA:CPU has a fast form for plain forward convolutions anywhere in a program. The gradients that JAX
derives get this form only at the top level of a program; inside `scan` or `switch` they become a
naive loop. The CPU forms here therefore write both gradients as plain convolutions or products.

The fastest form also depends on the compiler's options. Programs that take gradients are compiled
with the options of `hwnas_jax.compile.ahead`, which make plain convolutions twice as fast. Other
programs are assumed to be compiled without them. On GPU and TPU the forms are those of `lax`.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn.kernels import winograd
from hwnas_jax.nn.platform import target_platform

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
_WINOGRAD_GRADIENTS_WIDTH = 16


def conv2d(x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1) -> jax.Array:
    """Convolves `x` with `kernel`.

    Args:
      x: `[B, H, W, I]`.
      kernel: `[h, w, I, O]`, `h` and `w` odd.
      stride: step in both directions.
      dilation: spacing of the kernel's taps.

    Returns:
      `[B, ceil(H / stride), ceil(W / stride), O]`.
    """
    chex.assert_rank([x, kernel], 4)
    chex.assert_equal(kernel.shape[2], x.shape[3])
    chex.assert_equal(kernel.shape[0] % 2, 1)
    if kernel.shape[:2] == (1, 1) and target_platform() != "onnx":
        return matmul(x[:, ::stride, ::stride], kernel[0, 0])
    if target_platform() != "cpu":
        return _conv2d_lax(x, kernel, stride, dilation)
    if _winograd_pays(x, kernel, stride, dilation):
        return _conv3x3(x, kernel)
    return _conv2d_cpu(x, kernel, stride, dilation)


def as_trained(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `function` in the form that it has when its gradient is taken.

    The forward rule of a `custom_vjp` needs this: a function that it calls directly would run in
    the form for programs without gradients.
    """
    return lambda *inputs: jax.vjp(function, *inputs)[0]


def _winograd_pays(x, kernel, stride, dilation):
    """Whether padding rows to whole tiles costs less than half of the products that are saved."""
    plain = kernel.shape[:2] == (3, 3) and stride == dilation == 1
    width = x.shape[2]
    return plain and x.dtype == jnp.float32 and -width % winograd.TILE <= width // 4


def _pad_to_tiles(x):
    return jnp.pad(x, ((0, 0), (0, 0), (0, -x.shape[2] % winograd.TILE), (0, 0)))


@jax.custom_vjp
def _conv3x3(x, kernel):
    """Convolves with half the multiplications; if a gradient is taken, the forward pass is plain.

    The gradients also take half the multiplications, if the image is wide enough to pay for the
    transforms that both share.
    """
    return winograd.conv3x3(_pad_to_tiles(x), kernel)[:, :, : x.shape[2]]


def _conv3x3_forward(x, kernel):
    return _conv2d_cpu(x, kernel, 1, 1), (x, kernel)


def _conv3x3_backward(residuals, gradient):
    x, kernel = residuals
    if x.shape[2] < _WINOGRAD_GRADIENTS_WIDTH:
        return _conv2d_cpu_backward(1, 1, residuals, gradient)
    x_gradient, kernel_gradient = winograd.conv3x3_gradients(
        _pad_to_tiles(x), kernel, _pad_to_tiles(gradient)
    )
    return x_gradient[:, :, : x.shape[2]], kernel_gradient


_conv3x3.defvjp(_conv3x3_forward, _conv3x3_backward)


@jax.custom_vjp
def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns `x @ kernel`, `[B, H, W, I]` with `[I, O]`; the gradients do not transpose images."""
    chex.assert_rank([x, kernel], [4, 2])
    return x @ kernel


def _matmul_forward(x, kernel):
    return x @ kernel, (x, kernel)


def _matmul_backward(residuals, gradient):
    x, kernel = residuals
    flat, out = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    kernel_gradient = jax.lax.dot_general(flat, out, (((0,), (0,)), ((), ())))
    return gradient @ kernel.T, kernel_gradient


matmul.defvjp(_matmul_forward, _matmul_backward)


def _conv2d_lax(x, kernel, stride, dilation):
    pads = [(dilation * (size // 2),) * 2 for size in kernel.shape[:2]]
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pads,
        rhs_dilation=(dilation, dilation), dimension_numbers=_DIMENSIONS,
    )  # fmt: skip


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv2d_cpu(x, kernel, stride, dilation):
    return _conv2d_lax(x, kernel, stride, dilation)


def _conv2d_cpu_forward(x, kernel, stride, dilation):
    return _conv2d_lax(x, kernel, stride, dilation), (x, kernel)


def _conv2d_cpu_backward(stride, dilation, residuals, gradient):
    x, kernel = residuals
    pads, x_pads = [], []
    for axis in (0, 1):
        low = dilation * (kernel.shape[axis] // 2)
        reach = stride * (gradient.shape[axis + 1] - 1) + 1
        high = reach + dilation * (kernel.shape[axis] - 1) - x.shape[axis + 1] - low
        pads.append((low, high))
        x_pads.append((low, x.shape[axis + 1] + low - reach))
    # The zeros between the lines are written as an array. A convolution with `lhs_dilation` would
    # have no fast form in `cond`.
    gaps = (0, 0, stride - 1)
    spread = jax.lax.pad(gradient, np.zeros((), gradient.dtype), ((0, 0, 0), gaps, gaps, (0, 0, 0)))
    x_gradient = jax.lax.conv_general_dilated(
        spread, kernel[::-1, ::-1].swapaxes(2, 3), (1, 1), x_pads,
        rhs_dilation=(dilation, dilation), dimension_numbers=_DIMENSIONS,
    )  # fmt: skip
    kernel_gradient = jax.lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3), (dilation, dilation), pads,
        rhs_dilation=(stride, stride), dimension_numbers=_DIMENSIONS,
    )  # fmt: skip
    return x_gradient, kernel_gradient.transpose(1, 2, 0, 3)


_conv2d_cpu.defvjp(_conv2d_cpu_forward, _conv2d_cpu_backward)


def _window_sum_3x3(x):
    """Returns the sum over each 3x3 window, with zeros outside; it is its own transpose."""
    # On CPU padding is a separate pass, since it asks of every element whether it lies inside.
    alone = target_platform() == "cpu"
    long = tuple(axis for axis in (1, 2) if x.shape[axis] > 1)
    for axes in [long] if alone else [(axis,) for axis in long]:
        margins = [(1, 1, 0) if axis in axes else (0, 0, 0) for axis in range(4)]
        padded = jax.lax.pad(x, np.zeros((), x.dtype), margins)
        x = jax.lax.optimization_barrier(padded) if alone else padded
        for axis in axes:
            size = x.shape[axis] - 2
            x = sum(jax.lax.slice_in_dim(x, i, i + size, axis=axis) for i in range(3))
    return x


def _window_sums_of_ones(size):
    return np.convolve(np.ones(size), np.ones(3))[1 : size + 1]


def _inverse_counts_3x3(x):
    rows, columns = (_window_sums_of_ones(size) for size in x.shape[1:3])
    return jnp.asarray(1.0 / np.outer(rows, columns), x.dtype)[None, :, :, None]


def avg_pool_3x3(x: jax.Array) -> jax.Array:
    """Averages each 3x3 neighbourhood of `x` (`[B, H, W, C]`) at stride one, without padding."""
    chex.assert_rank(x, 4)
    if target_platform() == "onnx":
        return nnx.avg_pool(
            x, window_shape=(3, 3), strides=(1, 1), padding="SAME", count_include_pad=False
        )
    return _avg_pool_3x3(x)


@jax.custom_vjp
def _avg_pool_3x3(x):
    return _average(x)


def _average(x):
    return _window_sum_3x3(x) * _inverse_counts_3x3(x)


def _avg_pool_forward(x):
    return _average(x), None


def _avg_pool_backward(_, gradient):
    counts = _inverse_counts_3x3(gradient)
    return (jax.lax.optimization_barrier(_window_sum_3x3(gradient * counts)),)


_avg_pool_3x3.defvjp(_avg_pool_forward, _avg_pool_backward)


def avg_pool_2x2(x: jax.Array) -> jax.Array:
    """Halves `x` (`[B, H, W, C]`) by averaging 2x2 blocks; odd sizes repeat their last line."""
    chex.assert_rank(x, 4)
    for axis in (1, 2):
        if x.shape[axis] % 2 and x.shape[axis] > 1:
            x = jnp.concatenate([x, jax.lax.slice_in_dim(x, -1, None, axis=axis)], axis=axis)
    batch, height, width, channels = x.shape
    high, wide = (min(size, 2) for size in (height, width))
    if target_platform() == "onnx":
        return nnx.avg_pool(x, window_shape=(high, wide), strides=(high, wide))
    return x.reshape(batch, height // high, high, width // wide, wide, channels).mean((2, 4))


def pad_kernel(kernel: jax.Array, size: int) -> jax.Array:
    """Returns the kernel `[k, k, I, O]` in the middle of zeros, `[size, size, I, O]`."""
    margin = (size - kernel.shape[0]) // 2
    return jnp.pad(kernel, ((margin, margin), (margin, margin), (0, 0), (0, 0)))
