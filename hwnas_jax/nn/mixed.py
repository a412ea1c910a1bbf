"""Ways to mix candidate operations, or to run one of them."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.nn.kernels.convolution import as_trained, conv2d
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

    `N` such graphs follow one another, each from the last node of the one before, with the same
    operations drawn. All edges are walked in one loop, so that each operation is compiled once; on
    CPU it leaves out those on no open path from the first node to the last. Kept for the backward
    pass are the nodes; it goes through the drawn operations again, of which what a gradient does
    not need (a convolution's output, where nothing follows it) falls away. Plain
    `jax.lax.switch` keeps what every operation would need, as zeros for those that did not run.

    Args:
      x: the value of node zero.
      index: `int32[E]`, the operation of each edge.
      operands: arrays, or trees of them, with leading axes of `N` and `E`.
      branches: functions `(value of the source, *operands of the edge) -> array like x`, which
        close over no traced value and make zeros of zeros.
      edges: `(target, source)` of each edge.
      cut: the operation whose output is zero, if there is one.

    Returns:
      The value of the last node; every node but the first sums its edges.
    """
    chex.assert_shape(index, (len(edges),))
    index = jnp.asarray(index)
    is_open = jnp.ones(len(edges)) if cut is None else (index != cut) * 1.0
    runs = on_open_path(edges, is_open) * is_open > 0
    count, last = len(jax.tree.leaves(operands)[0]), max(target for target, _ in edges)
    order = sorted(range(len(edges)), key=lambda edge: edges[edge])
    if order != list(range(len(edges))):
        rows = np.array(order)
        index, runs = index[rows], runs[rows]
        operands = jax.tree.map(lambda leaf: leaf[:, rows], operands)
    chain = [(t + n * last, s + n * last) for n in range(count) for t, s in sorted(edges)]
    operands = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), operands)
    return _run_drawn(
        tuple(branches), tuple(chain), x, jnp.tile(index, count), jnp.tile(runs, count), operands
    )


def _walk(branches, read, write, edges, index, runs, carry, given):
    """Returns `carry` after the edges that run, in the order of `edges`.

    Each is `carry = write(given, carry, edge, branch(*read(given, carry, edge)))`, with the drawn
    one of `branches`. Going through all edges gives the same, with zeros to `write` for those that
    do not run. It can be differentiated, which a loop of unknown length cannot; a GPU would wait
    for the host to learn that length, and a TPU's compiler, which estimates what a step takes,
    would count one edge for all. None of the functions closes over a traced value.
    """

    def some(index, runs, carry, given):
        order = jnp.asarray(edges)[jnp.argsort(jnp.logical_not(runs[edges]), stable=True)]

        def visit(place, carry):
            # Loops of one turn or none: unlike a switch they change `carry` in place.
            for number, branch in enumerate(branches):

                def run(turn, carry, branch=branch):
                    # What does not depend on the turn would be computed even where there is none.
                    edge, _ = jax.lax.optimization_barrier((order[place], turn))
                    return write(given, carry, edge, branch(*read(given, carry, edge)))

                turns = (index[order[place]] == number).astype(jnp.int32)
                carry = jax.lax.fori_loop(0, turns, run, carry)
            return carry

        return jax.lax.fori_loop(0, runs.sum(), visit, carry)

    def every(index, runs, carry, given):
        def visit(carry, edge):
            value = jax.lax.switch(index[edge], branches, *read(given, carry, edge))
            value = jax.tree.map(lambda leaf: jnp.where(runs[edge], leaf, 0), value)
            return write(given, carry, edge, value), None

        return jax.lax.scan(visit, carry, edges)[0]

    index, given = jax.tree.map(jnp.asarray, (index, given))
    if target_platform() != "cpu":
        return every(index, runs, carry, given)
    walk = jax.custom_vjp(some)
    walk.defvjp(lambda *args: jax.vjp(every, *args), lambda pull_back, out: pull_back(out))
    return walk(index, runs, carry, given)


def _run_nodes(branches, edges, x, index, runs, operands):
    targets, sources = np.array(edges).T
    nodes = jnp.zeros((max(targets) + 1, *x.shape), x.dtype).at[0].set(x)

    def read(operands, nodes, edge):
        own = jax.tree.map(lambda leaf: leaf[edge], operands)
        return nodes[jnp.array(sources)[edge]], *own

    def write(operands, nodes, edge, value):
        return _change(nodes, jnp.array(targets)[edge], lambda node: node + value)

    order = np.arange(len(edges))
    return _walk(branches, read, write, order, index, runs, nodes, operands)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run_drawn(branches, edges, x, index, runs, operands):
    return _run_nodes(branches, edges, x, index, runs, operands)[-1]


def _run_drawn_forward(branches, edges, x, index, runs, operands):
    fixed = jax.tree.map(lambda leaf: None if leaf.perturbed else leaf.value, operands)
    wanted = jax.tree.map(lambda leaf: leaf.value if leaf.perturbed else None, operands)
    index, runs = index.value, runs.value
    branches = [as_trained(branch) for branch in branches]
    nodes = _run_nodes(branches, edges, x.value, index, runs, _joined(fixed, wanted))
    return nodes[-1], (nodes, index, runs, fixed, wanted)


def _run_drawn_backward(branches, edges, residuals, gradient):
    """Returns the gradients of `x` and, of the operands, of those that were differentiated."""
    nodes, index, runs, fixed, wanted = residuals
    targets, sources = np.array(edges).T
    slots = _slots(edges)
    # Of the edges that run, the last to leave a node is the first to bring it a gradient.
    later = (sources[:, None] == sources) & np.triu(np.ones((len(edges), len(edges)), bool), 1)
    is_first = jnp.logical_not((later & runs).any(1))

    def pull_back(branch):
        def pulled(gradient, x, fixed, wanted):
            call = lambda x, wanted: branch(x, *_joined(fixed, wanted))  # noqa: E731
            return jax.vjp(call, x, wanted)[1](gradient)

        return pulled

    def read(given, carry, edge):
        _, nodes, fixed, wanted = given
        gradient = jax.lax.optimization_barrier(carry[0][jnp.array(slots[targets])[edge]])
        own = jax.tree.map(lambda leaf: leaf[edge], (fixed, wanted))
        return gradient, nodes[jnp.array(sources)[edge]], *own

    def write(given, carry, edge, change):
        (gradients, found), (through, own), is_first = carry, change, given[0][edge]
        # Nothing is written before all is computed, hence read: then both can change in place.
        own, edge = jax.lax.optimization_barrier((own, edge))
        found = jax.tree.map(lambda leaf, one: leaf.at[edge].set(one), found, own)
        # A product, as a choice between arrays would not be one pass with the write.
        kept = jnp.where(is_first, 0, 1).astype(through.dtype)
        add = lambda old: kept * old + through  # noqa: E731
        return _change(gradients, jnp.array(slots[sources])[edge], add), found

    gradients = jnp.zeros((max(slots) + 1, *gradient.shape), gradient.dtype)
    carry = gradients.at[slots[-1]].set(gradient), jax.tree.map(jnp.zeros_like, wanted)
    gradients, found = _walk(
        [pull_back(branch) for branch in branches], read, write, np.arange(len(edges))[::-1],
        index, runs, carry, (is_first, nodes, fixed, wanted),
    )  # fmt: skip
    return jnp.where(runs.any(), gradients[slots[0]], 0), None, None, found


_run_drawn.defvjp(_run_drawn_forward, _run_drawn_backward, symbolic_zeros=True)


def _joined(fixed, wanted):
    """Returns the tree of which each leaf is in one of the two and None in the other."""
    is_none = lambda leaf: leaf is None  # noqa: E731
    return jax.tree.map(lambda a, b: b if a is None else a, fixed, wanted, is_leaf=is_none)


def _slots(edges):
    """Returns where each node's gradient is when edges are walked backwards, `int[nodes]`.

    A place is free again once all edges into its node are done.
    """
    targets, sources = np.array(edges).T
    nodes = range(max(targets) + 1)
    begins = [max(np.flatnonzero(sources == node), default=len(edges)) for node in nodes]
    ends = [min(np.flatnonzero(targets == node), default=-1) for node in nodes]
    slots, free_from = np.zeros(len(nodes), int), []
    for node in sorted(nodes, key=lambda node: -begins[node]):
        free = [slot for slot, end in enumerate(free_from) if end > begins[node]]
        slots[node] = free[0] if free else len(free_from)
        free_from[slots[node] : slots[node] + 1] = [ends[node]]
    return slots


def _change(values, place, change):
    """Returns `values` with `values[place]` replaced by `change(values[place])`.

    Slices that keep their axis, at a place known not to be negative, become one pass in place.
    """
    start = (place, *[jnp.zeros_like(place)] * (values.ndim - 1))
    old = jax.lax.dynamic_slice(values, start, (1, *values.shape[1:]))
    return jax.lax.dynamic_update_slice(values, change(old), start)


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
