"""A graph of nodes in a supernet; every edge holds all operations.

Legend: `I` input nodes, `J` inner nodes, `E` edges, `O` operations, `S` edges that run,
`B` batch, `C` channels.

Nodes `0 .. I-1` are given, and each later node sums edges from earlier nodes. The edges that leave
an input may change the shape, so their weights are stacked apart from the weights of the edges
between inner nodes. Edges are scanned, so that each operation is compiled once for all edges. If
operations are mixed, every edge runs all of them. If operations are drawn, some edges run one
operation each, and the node that an edge reads may itself be drawn.
"""

import functools
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn.kernels.pooling import max_pool
from hwnas_jax.nn.layerwise import run_drawn_block, stacked
from hwnas_jax.nn.mbconv import shuffle


class MixedEdge(nnx.Module):
    """The `O` operations of one edge: `[B, H, W, C]` to `[B, H', W', C']`.

    With `partial` channels, only the first `C / partial` channels go through the operations. The
    others pass by and are pooled if the stride is two. Then all channels are shuffled.

    References: Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient
    Architecture Search", ICLR 2020.
    """

    def __init__(self, options: Sequence[nnx.Module], *, stride: int = 1, partial: int = 1):
        self.options = nnx.List(options)
        self.stride, self.partial = stride, partial

    def mixed(self, x: jax.Array, weight: jax.Array, factor: jax.Array) -> jax.Array:
        """Returns `factor` (`float32[]`) times the operations mixed by `weight` (`float32[O]`)."""
        chex.assert_shape(weight, (len(self.options),))

        def mix(x):
            terms = [w * option(x) for w, option in zip(weight, self.options, strict=True)]
            return functools.reduce(jnp.add, terms)

        return self._beside(x, mix, factor)

    def drawn(self, x: jax.Array, option: int, weight: jax.Array, factor: jax.Array) -> jax.Array:
        """Returns `factor` times `weight` (`float32[]` each) times one operation's output."""
        return self._beside(x, lambda x: weight * self.options[option](x), factor)

    def _beside(self, x, run, factor):
        served = x.shape[-1] // self.partial
        value = run(x[..., :served])
        if self.partial > 1:
            passed = x[..., served:]
            if self.stride > 1:
                passed = max_pool(passed, 2, stride=self.stride)
            value = shuffle(jnp.concatenate([value, passed], -1), self.partial)
        return (factor * value).astype(x.dtype)


class MixedGraph(nnx.Module):
    """The edges of a graph with their operations.

    Attributes:
      edges: `(target, source)` of each edge, sorted by target, then source; row `e` of the weights
        belongs to `edges[e]`.
    """

    def __init__(
        self,
        inputs: int,
        nodes: int,
        entering: Callable[[nnx.Rngs], MixedEdge],
        inner: Callable[[nnx.Rngs], MixedEdge],
        rngs: nnx.Rngs,
        *,
        edges: Sequence[tuple[int, int]] | None = None,
    ):
        """Draws the weights.

        Args:
          inputs: `I`.
          nodes: `J`.
          entering: builds an edge that leaves an input.
          inner: builds an edge between inner nodes.
          rngs: for the initial weights.
          edges: `(target, source)` of each edge, sorted and different; all forward edges if left
            out. At least one leaves an input and one leaves an inner node.
        """
        self.inputs, self.nodes = inputs, nodes
        self.edges = graph_edges(inputs, nodes) if edges is None else tuple(edges)
        self.count = sum(source < inputs for _, source in self.edges)
        self.entering = stacked(entering, self.count, rngs)
        self.inner = stacked(inner, len(self.edges) - self.count, rngs)

    def _rows(self, *, apart: bool = True) -> list[int]:
        """Returns the place of each edge among the edges of its kind, or among all of them.

        Args:
          apart: whether the weights of the two kinds of edges stay apart, or are joined.
        """
        rows, counts = [], [0, 0 if apart else self.count]
        for _, source in self.edges:
            rows.append(counts[source >= self.inputs])
            counts[source >= self.inputs] += 1
        return rows

    def _made(self, x: jax.Array) -> jax.ShapeDtypeStruct:
        """Returns the shape of the output of an edge that leaves an input of value `x`."""
        graph, state = nnx.split(self.entering)

        def run(state, x):
            one = jnp.ones((), x.dtype)
            return nnx.merge(graph, state).drawn(x, 0, one, one)

        return jax.eval_shape(run, jax.tree.map(lambda leaf: leaf[0], state), x)

    def option_of(self, edge: int, option: int) -> nnx.State:
        """Returns the weights of one operation of one edge."""
        kind = self.entering if self.edges[edge][1] < self.inputs else self.inner
        row = self._rows()[edge]
        return jax.tree.map(lambda leaf: leaf[row], nnx.state(kind.options[option], nnx.Param))

    def mixed(
        self, inputs: Sequence[jax.Array], weight: jax.Array, factor: jax.Array
    ) -> list[jax.Array]:
        """Runs all operations.

        Args:
          inputs: values of the inputs, `[B, H, W, C]` each.
          weight: `float32[E, O]`.
          factor: `float32[E]`, on the output of each edge.

        Returns:
          Values of the `J` inner nodes.
        """
        (graph, entering), (inner_graph, inner) = map(nnx.split, (self.entering, self.inner))
        targets, sources = np.array(self.edges).T
        enters = sources < self.inputs
        given = jnp.stack(inputs)

        def scan(graph, state, nodes, read, own, first):
            """Adds the edges `own`, whose targets count from `first`."""

            def edge(nodes, of):
                target, source, state, weight, factor = of
                value = nnx.merge(graph, state).mixed(read(nodes, source), weight, factor)
                return nodes.at[target].add(value), None

            scanned = (targets[own] - first, sources[own], state, weight[own], factor[own])
            return jax.lax.scan(edge, nodes, jax.tree.map(jnp.asarray, scanned))[0]

        made = self._made(inputs[0])
        nodes = jnp.zeros((self.nodes, *made.shape), made.dtype)
        if made.shape == inputs[0].shape:  # all edges are alike
            state = _take(_joined(entering, inner), np.array(self._rows(apart=False)))
            nodes = jnp.concatenate([given, nodes])
            every = np.arange(len(self.edges))
            nodes = scan(graph, state, nodes, lambda nodes, source: nodes[source], every, 0)
            return list(nodes[self.inputs :])
        first = self.inputs
        nodes = scan(graph, entering, nodes, lambda _, source: given[source], enters, first)
        nodes = scan(
            inner_graph, inner, nodes, lambda nodes, source: nodes[source - first], ~enters, first
        )
        return list(nodes)

    def drawn(
        self,
        inputs: Sequence[jax.Array],
        targets: Sequence[int],
        sources: jax.Array,
        options: jax.Array,
        weight: jax.Array,
        factor: jax.Array,
    ) -> list[jax.Array]:
        """Runs one operation on each of some edges.

        Args:
          inputs: values of the inputs, `[B, H, W, C]` each.
          targets: of the `S` edges, ascending.
          sources: `int32[S]`.
          options: `int32[S]`, the operation of each edge.
          weight: `float32[S]`, on the output of the operation.
          factor: `float32[S]`, on the output of the edge.

        Returns:
          Values of the `J` inner nodes.
        """
        (graph, entering), (inner_graph, inner) = map(nnx.split, (self.entering, self.inner))
        made, given = self._made(inputs[0]), jnp.stack(inputs)
        alike = made.shape == inputs[0].shape
        table = np.zeros((self.inputs + self.nodes,) * 2, np.int32)
        for (target, source), row in zip(self.edges, self._rows(apart=not alike), strict=True):
            table[target, source] = row
        ends, enters = jnp.array(targets), sources < self.inputs
        rows, options_each = jnp.array(table)[ends, sources], len(self.entering.options)
        nodes = jnp.zeros((self.nodes, *made.shape), made.dtype)
        if alike:
            kinds, states = [graph], [_take(_joined(entering, inner), rows)]
            nodes = jnp.concatenate([given, nodes])
        else:
            kinds = [graph, inner_graph]
            own = jnp.where(enters, rows, 0), jnp.where(enters, 0, rows)
            states = [_take(entering, own[0]), _take(inner, own[1])]
            options = options + jnp.where(enters, 0, options_each)
            ends = ends - self.inputs
        branches = tuple(
            _branch(kind, graph, option)
            for kind, graph in enumerate(kinds) for option in range(options_each)
        )  # fmt: skip

        def edge(nodes, of):
            end, source, branch, states, weight, factor = of
            if alike:
                read = (nodes[source],)
            else:
                inner_source = jnp.maximum(source - self.inputs, 0)
                read = given[jnp.minimum(source, self.inputs - 1)], nodes[inner_source]
            value = run_drawn_block(branches, read, branch, (states, weight, factor))
            return nodes.at[end].add(value), None

        nodes, _ = jax.lax.scan(edge, nodes, (ends, sources, options, states, weight, factor))
        return list(nodes[-self.nodes :])


def graph_edges(inputs: int, nodes: int) -> tuple[tuple[int, int], ...]:
    """Returns `(target, source)` of every forward edge into an inner node.

    >>> graph_edges(2, 2)
    ((2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
    """
    return tuple(
        (target, source) for target in range(inputs, inputs + nodes) for source in range(target)
    )


def _take(state, rows):
    return jax.tree.map(lambda leaf: leaf[rows], state)


def _joined(state, other):
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), state, other)


def _branch(kind, graph, option):
    def run(read, states, weight, factor):
        return nnx.merge(graph, states[kind]).drawn(read[kind], option, weight, factor)

    return run
