"""A graph of nodes in a supernet, every edge of which holds all candidate operations.

Legend: `I` input nodes, `J` inner nodes, `E` edges, `O` operations, `S` edges that run,
`B` batch, `C` channels.

Nodes `0 .. I-1` are given; each later one sums edges from any earlier nodes. The edges that leave
an input may change the shape, so their weights are stacked apart from those between inner nodes.
When all operations run, those of the edges that leave one node are batched. When they are drawn,
only those run; the edges are scanned, each operation is compiled once for all, and which node an
edge reads may itself be drawn.
"""

import functools
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn.layerwise import run_drawn_block, stacked
from hwnas_jax.nn.mbconv import shuffle
from hwnas_jax.nn.pooling import max_pool


class Nothing(nnx.Module):
    """Cuts an edge: zeros."""

    def __init__(self, features: int, stride: int = 1):
        self.features, self.stride = features, stride

    def __call__(self, x: jax.Array) -> jax.Array:
        height, width = (-(-size // self.stride) for size in x.shape[1:3])
        return jnp.zeros((len(x), height, width, self.features), x.dtype)


class MixedEdge(nnx.Module):
    """The `O` operations of one edge: `[B, H, W, C]` to `[B, H', W', C']`.

    With `partial` channels only the first `C / partial` go through the operations; the others
    pass by, pooled at stride two, and all are shuffled.

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
        """Returns `factor` times `weight` (`float32[]`) times one operation's output."""
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
      edges: `(target, source)` of each edge, by target, then source; row `e` of weights belongs to
        `edges[e]`.
    """

    def __init__(
        self,
        inputs: int,
        nodes: int,
        entering: Callable[[nnx.Rngs], MixedEdge],
        inner: Callable[[nnx.Rngs], MixedEdge],
        rngs: nnx.Rngs,
    ):
        """Draws the weights.

        Args:
          inputs: `I`.
          nodes: `J`, at least two.
          entering: builds an edge that leaves an input.
          inner: builds an edge between inner nodes.
          rngs: for the initial weights.
        """
        self.inputs, self.nodes = inputs, nodes
        self.edges = graph_edges(inputs, nodes)
        count = sum(source < inputs for _, source in self.edges)
        self.entering = stacked(entering, count, rngs)
        self.inner = stacked(inner, len(self.edges) - count, rngs)

    def _rows(self) -> list[int]:
        """Returns the place of each edge among those of its kind."""
        rows, counts = [], [0, 0]
        for _, source in self.edges:
            rows.append(counts[source >= self.inputs])
            counts[source >= self.inputs] += 1
        return rows

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
        (graph, state), (inner_graph, inner) = map(nnx.split, (self.entering, self.inner))

        def leaving(graph, state, x, weight, factor):
            """Returns what the edges that leave one node of value `x` add to their targets."""

            def run(state, weight, factor):
                return nnx.merge(graph, state).mixed(x, weight, factor)

            return jax.vmap(run)(state, weight, factor)

        enters = np.array([source < self.inputs for _, source in self.edges])

        def by_target(leaf):
            return leaf.reshape(self.nodes, self.inputs, *leaf.shape[1:])

        # The edges that leave the inputs lie by target, then input.
        outputs = jax.vmap(functools.partial(leaving, graph), (1, 0, 1, 1), 1)(
            jax.tree.map(by_target, state), jnp.stack(inputs),
            by_target(weight[enters]), by_target(factor[enters]),
        )  # fmt: skip
        sums, rows = list(outputs.sum(1)), self._rows()
        for node in range(self.nodes - 1):
            ends = [e for e, (_, source) in enumerate(self.edges) if source == self.inputs + node]
            own, edges = np.array([rows[edge] for edge in ends]), np.array(ends)
            outputs = leaving(
                inner_graph, _take(inner, own), sums[node], weight[edges], factor[edges]
            )
            for edge, output in zip(ends, outputs, strict=True):
                target = self.edges[edge][0] - self.inputs
                sums[target] = sums[target] + output
        return sums

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
          options: `int32[S]`, which operation.
          weight: `float32[S]`, on the operation's output.
          factor: `float32[S]`, on the edge's.

        Returns:
          Values of the `J` inner nodes.
        """
        (graph, entering), (inner_graph, inner) = map(nnx.split, (self.entering, self.inner))
        table = np.zeros((self.inputs + self.nodes,) * 2, np.int32)
        for (target, source), row in zip(self.edges, self._rows(), strict=True):
            table[target, source] = row
        ends = jnp.array(targets)
        rows, enters = jnp.array(table)[ends, sources], sources < self.inputs
        given, count = jnp.stack(inputs), len(self.entering.options)
        one = nnx.merge(graph, jax.tree.map(lambda leaf: leaf[0], entering))
        made = jax.eval_shape(lambda x: one.drawn(x, 0, weight[0], factor[0]), inputs[0])
        nodes = jnp.zeros((self.nodes, *made.shape), made.dtype)
        alike = made.shape == inputs[0].shape
        if alike:
            rows = rows + jnp.where(enters, 0, self.inputs * self.nodes)
            both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), entering, inner)
            kinds, states = [graph], [_take(both, rows)]
            nodes = jnp.concatenate([given, nodes])
        else:
            kinds = [graph, inner_graph]
            own = jnp.where(enters, rows, 0), jnp.where(enters, 0, rows)
            states = [_take(entering, own[0]), _take(inner, own[1])]
            options = options + jnp.where(enters, 0, count)
            ends = ends - self.inputs
        branches = tuple(
            _branch(kind, graph, option)
            for kind, graph in enumerate(kinds) for option in range(count)
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


def _branch(kind, graph, option):
    def run(read, states, weight, factor):
        return nnx.merge(graph, states[kind]).drawn(read[kind], option, weight, factor)

    return run
