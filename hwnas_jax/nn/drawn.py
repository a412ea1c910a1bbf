"""One drawn operation on every edge of a graph.

Legend: `N` graphs in sequence, `E` edges of a graph.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.nn.kernels.convolution import as_trained
from hwnas_jax.nn.paths import on_open_path
from hwnas_jax.nn.platform import target_platform
from hwnas_jax.nn.tally import carried

Branch = Callable[..., jax.Array]


def run_drawn(
    x: jax.Array,
    index: jax.Array,
    operands: tuple[Any, ...],
    *,
    branches: Sequence[Branch],
    edges: Sequence[tuple[int, int]],
    cut: int | None = None,
) -> jax.Array:
    """Runs one drawn operation on every edge of a graph; only the drawn ones cost time and memory.

    `N` such graphs follow one another, with the same operations drawn in each; a graph's first node
    is the last node of the graph before. One loop walks all edges, so that each operation is
    compiled once. On CPU the loop skips edges that lie on no open path from the first node to the
    last.

    Only the nodes are kept for the backward pass, which runs the drawn operations again. Whatever a
    gradient does not need, such as the output of a last convolution, is then not computed. A plain
    `jax.lax.switch` would keep what the gradient of every operation needs, with zeros for the
    operations that did not run.

    Args:
      x: the value of node zero.
      index: `int32[E]`, the operation of each edge.
      operands: arrays, or trees of arrays, with leading axes of `N` and `E`.
      branches: functions `(value of the source, *operands of the edge) -> array like x`. They close
        over no traced value, and return zeros for a source of zeros.
      edges: `(target, source)` of each edge.
      cut: the operation whose output is zero, if there is one.

    Returns:
      The value of the last node; every node but the first sums its edges.
    """
    chex.assert_shape(index, (len(edges),))
    index = jnp.asarray(index)
    count, last = len(jax.tree.leaves(operands)[0]), max(target for target, _ in edges)
    branches, operands = carried(branches, operands, (count, len(edges)))
    is_open = jnp.ones(len(edges)) if cut is None else (index != cut) * 1.0
    runs = on_open_path(edges, is_open) * is_open > 0
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

    An edge is `carry = write(given, carry, edge, branch(*read(given, carry, edge)))`, with the
    drawn branch. None of the functions closes over a traced value.

    There are two forms with the same result. `some` visits only the edges that run, in a loop whose
    length is data. `every` visits all edges and gives zeros to `write` for those that do not run.
    Only `every` can be differentiated. It is also the form for accelerators: a GPU would wait for
    the host to learn the length of the loop, and the time that a TPU's compiler estimates would
    count one edge in place of all.
    """

    def some(index, runs, carry, given):
        order = jnp.asarray(edges)[jnp.argsort(jnp.logical_not(runs[edges]), stable=True)]

        def visit(place, carry):
            # Each branch is a loop of one turn or none. Unlike a switch, that changes `carry` in
            # place.
            for number, branch in enumerate(branches):

                def run(turn, carry, branch=branch):
                    # Without the barrier XLA moves what does not depend on the turn out of the
                    # loop, and computes it even for zero turns.
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
    """Returns the gradients of `x` and of those operands that were differentiated."""
    nodes, index, runs, fixed, wanted = residuals
    targets, sources = np.array(edges).T
    slots = _slots(edges)
    # Of the edges that run, the last one that leaves a node brings it its first gradient.
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
        # The barrier lets nothing be written before everything is computed, and so read. Then both
        # arrays can change in place.
        own, edge = jax.lax.optimization_barrier((own, edge))
        found = jax.tree.map(lambda leaf, one: leaf.at[edge].set(one), found, own)
        # A choice between arrays would not be fused with the write into one pass; a product is.
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
    """Returns the union of two trees; each leaf is None in one of them."""
    is_none = lambda leaf: leaf is None  # noqa: E731
    return jax.tree.map(lambda a, b: b if a is None else a, fixed, wanted, is_leaf=is_none)


def _slots(edges):
    """Returns the place of each node's gradient when edges are walked backwards, `int[nodes]`.

    Nodes share places: a place is free again once all edges into its node are done.
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

    XLA turns slices that keep their axis, at a place that cannot be negative, into one pass that
    changes the array in place.
    """
    start = (place, *[jnp.zeros_like(place)] * (values.ndim - 1))
    old = jax.lax.dynamic_slice(values, start, (1, *values.shape[1:]))
    return jax.lax.dynamic_update_slice(values, change(old), start)
