"""Ways to mix candidate operations, or to run one of them."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.nn.convolution import as_trained, conv2d
from hwnas_jax.nn.paths import on_open_path
from hwnas_jax.nn.platform import target_platform

Branch = Callable[..., jax.Array]


def run_drawn(
    x: jax.Array,
    index: jax.Array,
    operands: Any,
    *,
    branches: Sequence[Branch],
    edges: Sequence[tuple[int, int]],
    cut: int | None = None,
) -> jax.Array:
    """Runs one drawn operation on every edge of a graph; only those cost time and memory.

    The edges are walked in a loop, so that each operation is compiled once for all of them; on
    CPU it leaves out those on no open path from the first node to the last. Kept for the
    backward pass are the nodes; it goes through the drawn operations again, of which what a
    gradient does not need (a convolution's output, where nothing follows it) falls away. Plain
    `jax.lax.switch` keeps what every operation would need, as zeros for those that did not run.

    Args:
      x: the value of node zero.
      index: `int32[E]`, the operation of each edge.
      operands: arrays, or trees of them, with a leading axis of `E`.
      branches: functions `(value of the source, *operands of the edge) -> array like x`, which
        close over no traced value and make zeros of zeros.
      edges: `(target, source)` of each edge, ordered by target.
      cut: the operation whose output is zero, if there is one.

    Returns:
      The value of the last node; every node but the first sums its edges.
    """
    chex.assert_shape(index, (len(edges),))
    is_open = jnp.ones(len(edges)) if cut is None else (jnp.asarray(index) != cut) * 1.0
    runs = on_open_path(edges, is_open) * is_open > 0
    return _run_drawn(tuple(branches), tuple(edges), x, index, runs, operands)


def _walk(visit, edges, runs, carry, given):
    """Returns `carry` after `carry = visit(carry, edge, given)` for the edges that run, in order.

    Going through all edges gives the same. It can be differentiated, which a loop of unknown length
    cannot; a GPU would wait for the host to learn that length, and a TPU's compiler, which
    estimates what a step takes, would count one edge for all. `visit` closes over no traced value.
    """

    def some(order, count, carry, given):
        return jax.lax.fori_loop(0, count, lambda i, carry: visit(carry, order[i], given), carry)

    def every(order, count, carry, given):
        return jax.lax.scan(lambda carry, e: (visit(carry, e, given), None), carry, edges)[0]

    if target_platform() != "cpu":
        return every(None, None, carry, jax.tree.map(jnp.asarray, given))
    walk = jax.custom_vjp(some)
    walk.defvjp(lambda *args: jax.vjp(every, *args), lambda pull_back, out: pull_back(out))
    order = jnp.asarray(edges)[jnp.argsort(jnp.logical_not(runs[edges]), stable=True)]
    return walk(order, runs.sum(), carry, given)


def _run_nodes(branches, edges, x, index, runs, operands):
    targets, sources = np.array(edges).T
    nodes = jnp.zeros((max(targets) + 1, *x.shape), x.dtype).at[0].set(x)

    def visit(nodes, edge, given):
        index, operands = jax.tree.map(lambda leaf: leaf[edge], given)
        source, target = jnp.array(sources)[edge], jnp.array(targets)[edge]
        return _add_at(nodes, target, jax.lax.switch(index, branches, nodes[source], *operands))

    return _walk(visit, np.arange(len(edges)), runs, nodes, (index, operands))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run_drawn(branches, edges, x, index, runs, operands):
    return _run_nodes(branches, edges, x, index, runs, operands)[-1]


def _run_drawn_forward(branches, edges, x, index, runs, operands):
    branches = [as_trained(branch) for branch in branches]
    nodes = _run_nodes(branches, edges, x, index, runs, operands)
    return nodes[-1], (nodes[:-1], index, runs, operands)


def _run_drawn_backward(branches, edges, residuals, gradient):
    nodes, index, runs, operands = residuals
    targets, sources = np.array(edges).T
    gradients = jnp.zeros((len(nodes) + 1, *gradient.shape), gradient.dtype).at[-1].set(gradient)

    def pull_back(branch):
        return lambda gradient, *inputs: jax.vjp(branch, *inputs)[1](gradient)

    pulls = [pull_back(branch) for branch in branches]

    def visit(carry, edge, given):
        (gradients, found), (nodes, *of_edges) = carry, given
        index, operands = jax.tree.map(lambda leaf: leaf[edge], tuple(of_edges))
        source, target = jnp.array(sources)[edge], jnp.array(targets)[edge]
        through, *own = jax.lax.switch(index, pulls, gradients[target], nodes[source], *operands)
        found = jax.tree.map(lambda leaf, one: leaf.at[edge].set(one), found, tuple(own))
        return _add_at(gradients, source, through), found

    carry = gradients, jax.tree.map(jnp.zeros_like, operands)
    backwards = np.arange(len(edges))[::-1]
    gradients, found = _walk(visit, backwards, runs, carry, (nodes, index, operands))
    return gradients[0], None, None, found


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
