"""Cells of a supernet with any operations on their edges: the general form, slow and right.

Legend: `B` batch, `C` channels, `E` edges, `O` operations, `N` cells.

An operation is any module (`CellOperation`). Where operations are mixed, all of them run on every
edge and their outputs are added, each times its gate. Where one is drawn for each edge, only that
one runs. A form that computes the same in less time (`hwnas_jax.nn.fused_cell`) is tested against
this one.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn.cell_operations import CellOperation
from hwnas_jax.nn.graph import MixedEdge, MixedGraph
from hwnas_jax.nn.layerwise import stacked
from hwnas_jax.nn.normalisation import supernet_norm
from hwnas_jax.relax.base import Gates


class MixedCells(nnx.Module):
    """Cells in sequence: `([B, H, W, C], Gates) -> [B, H', W', C']`.

    Node zero is a cell's input and the last node its output; every other node sums its edges. The
    cells are equal in shape. A single cell may change the shape: the edges that leave its input do.
    """

    def __init__(
        self,
        count: int,
        features: int,
        edges: Sequence[tuple[int, int]],
        operations: Sequence[CellOperation],
        rngs: nnx.Rngs,
        *,
        features_in: int | None = None,
        stride: int = 1,
        axis_name: str | None = None,
        rematerialise: bool = False,
    ):
        """Draws the weights.

        Args:
          count: `N`.
          features: channels that a cell returns.
          edges: `(target, source)` of each edge, sources below targets; row `e` of the gates
            belongs to `edges[e]`.
          operations: what every edge chooses from; column `o` of the gates belongs to
            `operations[o]`.
          rngs: for the initial weights.
          features_in: channels of the first cell's input; `features` if left out.
          stride: of the edges that leave the first cell's input.
          axis_name: replica axis over which batch statistics are averaged, if any.
          rematerialise: keep only the inputs of the cells, and run each cell's forward pass again
            in the backward pass.

        Raises:
          ValueError: for several cells that change the shape.
        """
        given = features if features_in is None else features_in
        if count > 1 and (stride > 1 or given != features):
            raise ValueError(f"only a single cell changes the shape, got {count} cells")
        norm = supernet_norm(axis_name)
        # A graph's edges are sorted by target. The gates keep the order of `edges`.
        self.rows = tuple(sorted(range(len(edges)), key=lambda edge: edges[edge]))
        sorted_edges = [edges[row] for row in self.rows]
        nodes = max(target for target, _ in edges)

        def edge(inputs, stride):
            def build(rngs):
                modules = [o.build(inputs, features, stride, norm, rngs) for o in operations]
                return MixedEdge(modules, stride=stride)

            return build

        def cell(rngs):
            return MixedGraph(
                1, nodes, edge(given, stride), edge(features, 1), rngs, edges=sorted_edges
            )

        self.cells = stacked(cell, count, rngs) if count > 1 else cell(rngs)
        self.count, self.rematerialise = count, rematerialise
        self.shape = (len(edges), len(operations))

    def __call__(self, x: jax.Array, gates: Gates) -> jax.Array:
        """Runs the cells.

        Args:
          x: `[B, H, W, C]`.
          gates: `weight` is `float32[E, O]`; with `index` only the drawn operations run.
        """
        chex.assert_rank(x, 4)
        chex.assert_shape(gates.weight, self.shape)
        gates = jax.tree.map(jnp.asarray, gates)
        if self.rows != tuple(range(len(self.rows))):
            gates = jax.tree.map(lambda leaf: leaf[np.array(self.rows)], gates)

        graph, states = nnx.split(self.cells)

        def run(x, state):
            cell = nnx.merge(graph, state)
            return _mixed(cell, x, gates) if gates.index is None else _drawn(cell, x, gates)

        run = jax.checkpoint(run) if self.rematerialise else run
        if self.count == 1:
            return run(x, states)
        return jax.lax.scan(lambda x, state: (run(x, state), None), x, states)[0]

    def weights_of(self, cell: int, edge: int, option: int) -> nnx.State:
        """Returns the weights of one operation, arranged as in its stand-alone module."""
        graph = self.cells
        if self.count > 1:
            definition, state = nnx.split(graph)
            graph = nnx.merge(definition, jax.tree.map(lambda leaf: leaf[cell], state))
        return graph.option_of(self.rows.index(edge), option)


def _mixed(graph, x, gates):
    return graph.mixed([x], gates.weight, _ones(gates))[-1]


def _drawn(graph, x, gates):
    targets, sources = np.array(graph.edges).T
    weight = gates.weight[np.arange(len(targets)), gates.index]
    return graph.drawn(
        [x], targets.tolist(), jnp.array(sources), gates.index, weight, _ones(gates)
    )[-1]


def _ones(gates):
    return jnp.ones(len(gates.weight), gates.weight.dtype)
