"""Ways to mix candidate operations, or to run one of them."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from hwnas_jax.nn.convolution import conv2d

Branch = Callable[..., jax.Array]


def run_drawn(
    x: jax.Array,
    index: jax.Array,
    operands: Any,
    *,
    branches: Sequence[Branch],
    edges: Sequence[tuple[int, int]],
) -> jax.Array:
    """Runs one drawn operation on every edge of a graph; only those cost time and memory.

    The edges are scanned, so that each operation is compiled once for all of them. Kept for the
    backward pass are the nodes; it goes through the drawn operations again, of which what a
    gradient does not need (a convolution's output, where nothing follows it) falls away. Plain
    `jax.lax.switch` keeps what every operation would need, as zeros for those that did not run.

    Args:
      x: the value of node zero.
      index: `int32[E]`, the operation of each edge.
      operands: arrays, or trees of them, with a leading axis of `E`.
      branches: functions `(value of the source, *operands of the edge) -> array like x`, which
        close over no traced value.
      edges: `(target, source)` of each edge, ordered by target.

    Returns:
      The value of the last node; every node but the first sums its edges.
    """
    chex.assert_shape(index, (len(edges),))
    return _run_drawn(tuple(branches), tuple(edges), x, index, operands)


def _run_nodes(branches, edges, x, index, operands):
    targets, sources = jnp.array(edges).T
    nodes = jnp.zeros((max(edges)[0] + 1, *x.shape), x.dtype).at[0].set(x)

    def edge(nodes, of):
        target, source, index, operands = of
        return _add_at(nodes, target, jax.lax.switch(index, branches, nodes[source], *operands))

    scanned = (targets, sources, index, operands)
    return jax.lax.scan(lambda nodes, of: (edge(nodes, of), None), nodes, scanned)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run_drawn(branches, edges, x, index, operands):
    return _run_nodes(branches, edges, x, index, operands)[-1]


def _run_drawn_forward(branches, edges, x, index, operands):
    nodes = _run_nodes(branches, edges, x, index, operands)
    return nodes[-1], (nodes[:-1], index, operands)


def _run_drawn_backward(branches, edges, residuals, gradient):
    nodes, index, operands = residuals
    targets, sources = jnp.array(edges).T
    gradients = jnp.zeros((len(nodes) + 1, *gradient.shape), gradient.dtype).at[-1].set(gradient)

    def pull_back(branch):
        return lambda gradient, *inputs: jax.vjp(branch, *inputs)[1](gradient)

    pulls = [pull_back(branch) for branch in branches]

    def edge(gradients, of):
        target, source, index, operands = of
        through, *own = jax.lax.switch(index, pulls, gradients[target], nodes[source], *operands)
        return _add_at(gradients, source, through), tuple(own)

    scanned = (targets, sources, index, operands)
    gradients, operand_gradients = jax.lax.scan(edge, gradients, scanned, reverse=True)
    return gradients[0], None, operand_gradients


_run_drawn.defvjp(_run_drawn_forward, _run_drawn_backward)


def _add_at(nodes, node, value):
    return jax.lax.dynamic_update_index_in_dim(nodes, nodes[node] + value, node, 0)


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
    padded = [w * pad_kernel(kernel, size) for w, kernel in zip(weight, spread, strict=True)]
    mixed = functools.reduce(operator.add, padded)
    return conv2d(x, mixed.astype(x.dtype), stride=stride)


def spread_kernel(kernel: jax.Array, dilation: int) -> jax.Array:
    """Returns the kernel `[k, k, I, O]` with `dilation - 1` zeros between its taps."""
    gaps = (0, 0, dilation - 1)
    return jax.lax.pad(kernel, jnp.zeros((), kernel.dtype), (gaps, gaps, (0, 0, 0), (0, 0, 0)))


def pad_kernel(kernel: jax.Array, size: int) -> jax.Array:
    """Returns the kernel `[k, k, I, O]` in the middle of zeros, `[size, size, I, O]`."""
    margin = (size - kernel.shape[0]) // 2
    return jnp.pad(kernel, ((margin, margin), (margin, margin), (0, 0), (0, 0)))
