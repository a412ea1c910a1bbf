"""Ways to mix candidate operations, or to run one of them."""

import functools
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp

from hwnas_jax.nn.convolution import conv2d

Branch = Callable[..., jax.Array]


def run_one(index: jax.Array, branches: Sequence[Branch], *operands) -> jax.Array:
    """Runs the branch `index` (`int32[]`) on `operands`; only that branch costs time and memory.

    `jax.lax.switch` keeps what every branch would need for its gradient, as zeros for those that
    did not run. Here only the operands are kept, and the backward pass goes through the drawn
    branch again, of which what the gradient does not need (the forward convolution) falls away.

    Args:
      index: `int32[]`.
      branches: functions of `operands` with outputs of one shape and type; they close over no
        traced value.
      operands: arrays, or trees of them.
    """
    chex.assert_rank(index, 0)
    return _run_one(tuple(branches), index, operands)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run_one(branches, index, operands):
    return jax.lax.switch(index, branches, *operands)


def _run_one_forward(branches, index, operands):
    return _run_one(branches, index, operands), (index, operands)


def _run_one_backward(branches, residuals, gradient):
    index, operands = residuals

    def pull_back(branch):
        return lambda operands, gradient: jax.vjp(branch, *operands)[1](gradient)

    return None, jax.lax.switch(index, [pull_back(b) for b in branches], operands, gradient)


_run_one.defvjp(_run_one_forward, _run_one_backward)


def mixed_weight_conv(
    x: jax.Array,
    kernels: Sequence[jax.Array],
    weight: jax.Array,
    *,
    dilations: Sequence[int] | None = None,
    stride: int = 1,
) -> jax.Array:
    """Mixes convolutions of one input by mixing their kernels: one convolution in place of many.

    A convolution is linear in its kernel, so `sum_i w_i * conv(x, k_i) = conv(x, sum_i w_i * k_i)`
    once all kernels are spread and padded to a common size.

    Args:
      x: `[B, H, W, I]`.
      kernels: each `[k, k, I, O]`, `k` odd.
      weight: `float32[len(kernels)]`.
      dilations: of each kernel; ones when left out.
      stride: step in both directions.

    Returns:
      `[B, ceil(H / stride), ceil(W / stride), O]`.

    References: Shen et al., "Efficient Architecture Search for Diverse Tasks" (DASH), 2022;
    Cai and Vasconcelos, "Rethinking Differentiable Search for Mixed-Precision Neural Networks"
    (EdMIPS), 2020; Stamoulis et al., "Single-Path NAS", 2019.
    """
    chex.assert_shape(weight, (len(kernels),))
    dilations = dilations or [1] * len(kernels)
    spread = [spread_kernel(k, d) for k, d in zip(kernels, dilations, strict=True)]
    size = max(kernel.shape[0] for kernel in spread)
    mixed = sum(w * pad_kernel(kernel, size) for w, kernel in zip(weight, spread, strict=True))
    return conv2d(x, mixed.astype(x.dtype), stride=stride)


def spread_kernel(kernel: jax.Array, dilation: int) -> jax.Array:
    """Returns the kernel `[k, k, I, O]` with `dilation - 1` zeros between its taps."""
    gaps = (0, 0, dilation - 1)
    return jax.lax.pad(kernel, jnp.zeros((), kernel.dtype), (gaps, gaps, (0, 0, 0), (0, 0, 0)))


def pad_kernel(kernel: jax.Array, size: int) -> jax.Array:
    """Returns the kernel `[k, k, I, O]` in the middle of zeros, `[size, size, I, O]`."""
    margin = (size - kernel.shape[0]) // 2
    return jnp.pad(kernel, ((margin, margin), (margin, margin), (0, 0), (0, 0)))
