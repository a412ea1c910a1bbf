"""The cells of DARTS: a normal and a reduction cell, stacked to networks of any depth.

A cell reads the outputs of the two cells before it (nodes 0 and 1). Each of its four inner nodes
sums two edges from different earlier nodes, and the cell's output joins the inner nodes. An edge
carries one of seven operations; the paper's eighth, `none`, stands for the edges that are left out.

Beside the operation of every edge, there is a decision for each node: which pair of edges it keeps.
Decisions are drawn independently. If edges chose `none` themselves, hardly any draw would have two
edges into each node, and costs would be those of networks with twice as many edges as are derived.
With pairs, every draw is a member of the space, its cost is that of its network, and the most
probable pair holds the two strongest edges.

The supernet adds up: an edge's output is multiplied by the sum of the gates of the pairs that hold
it. Gates that choose several pairs of a node or several operations of an edge mean their sum.

References: Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019; Xu et al.,
"PC-DARTS", ICLR 2020 (partial channels); Gu et al., "DOTS: Decoupling Operation and Topology in
Differentiable Architecture Search", CVPR 2021 (pairs of edges).
"""

import functools
import itertools
from typing import Annotated, cast

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le, MultipleOf
from flax import nnx

from hwnas_jax.errors import UserError, choose
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.classifier import Classifier
from hwnas_jax.nn.darts import (
    INPUTS,
    NODES,
    OPERATIONS,
    AuxiliaryHead,
    CellShape,
    FixedCell,
    SupernetCell,
    cell_operation,
    enter,
)
from hwnas_jax.nn.graph import graph_edges
from hwnas_jax.nn.in_training import InTraining
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.nn.variables import copy_weights
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Decision, Operation, Place, Space
from hwnas_jax.spaces.core.arguments import image
from hwnas_jax.spaces.core.genotype import KINDS, read_genotype, write_genotype
from hwnas_jax.spaces.core.mixture import Governed, Governor
from hwnas_jax.spaces.core.tabulate import OperationTable, made_once

EDGES = graph_edges(INPUTS, NODES)
STEM_MULTIPLIER = 3
_NODES = range(INPUTS, INPUTS + NODES)
# The pairs of nodes that each node may read. The first inner node has no choice.
PAIRS = {node: tuple(itertools.combinations(range(node), 2)) for node in _NODES}
_CHOOSING = [node for node in _NODES if len(PAIRS[node]) > 1]
_PER_CELL = len(EDGES) + len(_CHOOSING)

_Channels = Annotated[int, Ge(2), Le(4096), MultipleOf(2)]
_Cells = Annotated[int, Ge(3), Le(100)]


def _pair_row(kind: int, node: int) -> int:
    """Returns the number of the decision on the pair that a node reads."""
    return kind * _PER_CELL + len(EDGES) + _CHOOSING.index(node)


@SPACES.add
class Darts(Governed, Space):
    """The cell space of DARTS at any width and depth."""

    name = "darts"
    summary = "normal and reduction cells of 4 nodes, 14 edges, 8 operations; channels, cells"
    adds_options = True
    decisions = tuple(
        decision
        for kind in KINDS
        for decision in (
            *(Decision(f"{kind}/{target}<-{source}", OPERATIONS) for target, source in EDGES),
            *(Decision(f"{kind}/{node}", tuple(f"{a}+{b}" for a, b in PAIRS[node]))
              for node in _CHOOSING),
        )
    )  # fmt: skip

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        channels: _Channels = 16,
        cells: _Cells = 8,
        network_channels: _Channels | None = None,
        network_cells: _Cells | None = None,
        partial: Annotated[int, Ge(1), Le(64)] = 1,
        auxiliary: Annotated[float, Ge(0), Le(10)] = 0.4,
        drop_path: Annotated[float, Ge(0), Le(0.99)] = 0.2,
    ):
        """Sets the sizes; the defaults are those of the published supernet.

        Costs are those of the stand-alone network, which may be larger than the supernet: the
        published one has 36 channels and 20 cells.

        Args:
          input_shape: `(H, W, C)` of one image; `H` and `W` at least 4.
          num_outputs: outputs of the network.
          channels: of the supernet's first cells, an even number.
          cells: of the supernet; the cells at a third and at two thirds of the depth reduce.
          network_channels: of the stand-alone network; the supernet's if left out.
          network_cells: of the stand-alone network; the supernet's if left out.
          partial: in the supernet, one in so many channels goes through the operations of an edge;
            the others pass by.
          auxiliary: weight of the loss of a second classifier after the second reduction, which a
            network has while it is trained; zero leaves it out.
          drop_path: share of the images for which an edge other than a skip is dropped at the end
            of a network's training; the share grows from zero.

        Raises:
          UserError: for images too small, and channels that `partial` does not divide.
        """
        network_channels = channels if network_channels is None else network_channels
        network_cells = cells if network_cells is None else network_cells
        if channels % (2 * partial):
            raise UserError(
                f"space.args.channels must be a multiple of twice space.args.partial, "
                f"{2 * partial}, got {channels}"
            )
        self.input_shape, self.num_outputs = image(input_shape), int(num_outputs)
        if min(self.input_shape[:2]) < 4:
            raise UserError(f"{self.name} needs images of at least 4x4, got {self.input_shape}")
        self.channels, self.cells, self.partial = channels, cells, partial
        self.network_channels, self.network_cells = network_channels, network_cells
        self.auxiliary, self.drop_path = float(auxiliary), float(drop_path)
        self.args = {
            "channels": channels, "cells": cells, "network_channels": network_channels,
            "network_cells": network_cells, "partial": partial, "auxiliary": self.auxiliary,
            "drop_path": self.drop_path,
        }  # fmt: skip

    @property
    def num_layers(self) -> int:
        return max(self.cells, self.network_cells) * (len(EDGES) + INPUTS)

    def layout(self, channels: int, cells: int) -> list[CellShape]:
        """Returns the shape of each cell of a network or supernet."""
        height, width, _ = self.input_shape
        before = last = (height, width, STEM_MULTIPLIER * channels)
        shapes = []
        for number in range(cells):
            reduces = number in (cells // 3, 2 * cells // 3)
            channels = 2 * channels if reduces else channels
            shapes.append(CellShape(reduces, before, last, channels))
            before, last = last, shapes[-1].result
        return shapes

    def kept(self, architecture: np.ndarray, kind: int) -> list[int]:
        """Returns the places in `EDGES` of the edges that the cells of one of `KINDS` keep."""
        kept = []
        for node in _NODES:
            pairs = PAIRS[node]
            pair = pairs[architecture[_pair_row(kind, node)] if len(pairs) > 1 else 0]
            kept += [EDGES.index((node, source)) for source in pair]
        return kept

    @property
    def governors(self) -> tuple[Governor, ...]:
        """The pair of a node leaves its other edges without effect."""
        found = []
        for kind, node in itertools.product(range(len(KINDS)), _CHOOSING):
            closed = np.zeros((self.num_options, node), bool)
            for option, pair in enumerate(PAIRS[node]):
                closed[option] = [source not in pair for source in range(node)]
            edges = [kind * _PER_CELL + EDGES.index((node, source)) for source in range(node)]
            found.append(Governor(_pair_row(kind, node), edges, closed))
        return tuple(found)

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        return _Supernet(self, supernet_norm(axis_name), rngs, rematerialise)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        return _Network(self, self.check(architecture), network_norm(axis_name), rngs)

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        sizes = (self.channels, self.cells)
        if self.partial > 1 or sizes != (self.network_channels, self.network_cells):
            raise UserError(
                f"a network of {self.network_channels} channels and {self.network_cells} cells "
                f"cannot inherit the weights of a supernet of {self.channels} and {self.cells}, "
                f"one in {self.partial} channels served (space.args)"
            )
        target, source = cast(_Network, network), cast(_Supernet, supernet)
        copy_weights(target, source, "stem", "classifier")
        for fixed, mixed in zip(target.cells, source.cells, strict=True):
            copy_weights(fixed, mixed, "before", "last")
            start = mixed.reduces * _PER_CELL
            for operation, ends in zip(fixed.operations, fixed.edges, strict=True):
                edge = EDGES.index(ends)
                option = int(architecture[start + edge])
                nnx.update(operation, mixed.graph.option_of(edge, option))

    @made_once
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table, norm = OperationTable(), network_norm()
        channels = self.network_channels
        stem = functools.partial(ops.Stem, self.input_shape[2], STEM_MULTIPLIER * channels, norm)
        table.stands("stem", self.input_shape, stem)
        shapes = self.layout(channels, self.network_cells)
        for shape in shapes:
            for given in (shape.before, shape.last):
                halved = "" if given[:2] == shape.last[:2] else " halved"
                build = functools.partial(enter, given, shape, norm)
                table.stands(f"enter to {shape.features}{halved}", given, build)
            kind = int(shape.reduces)
            for edge, (target, source) in enumerate(EDGES):
                stride = shape.stride if source < INPUTS else 1
                given = shape.inner if source < INPUTS else (*shape.result[:2], shape.features)
                for option, name in enumerate(OPERATIONS):
                    if name == "skip_connect" and stride == 1:
                        continue
                    build = functools.partial(cell_operation, name, shape.features, stride, norm)
                    own = (kind * _PER_CELL + edge, option)
                    for when in self._keeping(kind, target, source):
                        table.stands(f"{name} stride {stride}", given, build, (own, *when))
        end = shapes[-1].result
        table.stands("head", end, functools.partial(Classifier, end[2], self.num_outputs))
        return table.result()

    def _keeping(self, kind, target, source):
        """Returns conditions; an edge is kept if any of them holds."""
        pairs = PAIRS[target]
        if len(pairs) == 1:
            return [()]
        row = _pair_row(kind, target)
        return [((row, number),) for number, pair in enumerate(pairs) if source in pair]

    def to_string(self, architecture: np.ndarray) -> str:
        """Returns the genotype as the paper's code prints it, each node's edges by source."""
        row = self.check(architecture)
        cells = [
            [
                (OPERATIONS[row[kind * _PER_CELL + edge]], EDGES[edge][1])
                for edge in self.kept(row, kind)
            ]
            for kind in range(len(KINDS))
        ]
        return write_genotype(dict(zip(KINDS, cells, strict=True)))

    def from_string(self, text: str) -> np.ndarray:
        """Returns the architecture of a genotype; its concat may be a range or a list."""
        cells = read_genotype(text)
        names = {
            decision.name: decision.options[option]
            for decision, option in zip(self.decisions, self.mask.argmax(1), strict=True)
        }
        for kind in KINDS:
            for node, *edges in zip(_NODES, cells[kind][::2], cells[kind][1::2], strict=True):
                sources = sorted(source for _, source in edges)
                if tuple(sources) not in PAIRS[node]:
                    raise UserError(
                        f"node {node} of the {kind} cell reads {sources}; it must read two "
                        f"distinct nodes of 0 to {node - 1}"
                    )
                if node in _CHOOSING:
                    names[f"{kind}/{node}"] = "+".join(map(str, sources))
                for operation, source in edges:
                    word = choose(operation, OPERATIONS, f"operation in the {kind} cell")
                    names[f"{kind}/{node}<-{source}"] = word
        return self.from_names(names)


class _Network(InTraining):
    """The stand-alone network; in training it has a second classifier and drops edges."""

    def __init__(self, space: Darts, architecture: np.ndarray, norm: Norm, rngs: nnx.Rngs):
        shapes = space.layout(space.network_channels, space.network_cells)
        width = STEM_MULTIPLIER * space.network_channels
        self.stem = ops.Stem(space.input_shape[2], width, norm, rngs)
        self.cells = nnx.List(
            _fixed_cell(space, architecture, shape, norm, rngs) for shape in shapes
        )
        self.classifier = Classifier(shapes[-1].result[2], space.num_outputs, rngs)
        self.middle = 2 * len(shapes) // 3
        self.drop_path, self.weight = space.drop_path, space.auxiliary
        features = shapes[self.middle].result[2]
        self.auxiliary = (
            AuxiliaryHead(features, space.num_outputs, norm, rngs) if space.auxiliary else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.classifier(self._run(x)[-1])

    def _run(self, x, keys=None, rate=0.0):
        """Returns the output of each cell."""
        made = [self.stem(x)] * 2
        for number, cell in enumerate(self.cells):
            own = None
            if keys is not None:
                own = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
            made.append(cell(*made[-2:], own, rate))
        return made[2:]

    def in_training(
        self, x: jax.Array, keys: jax.Array, progress: jax.Array
    ) -> tuple[tuple[float, jax.Array], ...]:
        made = self._run(x, keys if self.drop_path else None, self.drop_path * progress)
        heads = [(1.0, self.classifier(made[-1]))]
        if self.auxiliary is not None:
            heads.append((self.weight, self.auxiliary(made[self.middle])))
        return tuple(heads)


def _fixed_cell(space, architecture, shape, norm, rngs):
    kind = int(shape.reduces)
    kept = space.kept(architecture, kind)
    names = [OPERATIONS[architecture[kind * _PER_CELL + edge]] for edge in kept]
    return FixedCell(shape, [EDGES[edge] for edge in kept], names, norm, rngs)


class _Supernet(nnx.Module):
    def __init__(self, space: Darts, norm: Norm, rngs: nnx.Rngs, rematerialise: bool):
        shapes = space.layout(space.channels, space.cells)
        self.stem = ops.Stem(space.input_shape[2], STEM_MULTIPLIER * space.channels, norm, rngs)
        self.cells = nnx.List(
            SupernetCell(shape, norm, rngs, partial=space.partial) for shape in shapes
        )
        self.classifier = Classifier(shapes[-1].result[2], space.num_outputs, rngs)
        self.rematerialise = rematerialise

    def __call__(self, x: jax.Array, gates: Gates) -> jax.Array:
        gates = jax.tree.map(jnp.asarray, gates)
        read = mixed_gates if gates.index is None else _drawn_gates
        given = [read(gates, kind) for kind in range(len(KINDS))]
        before = last = self.stem(x)
        for cell in self.cells:
            run = cell.mixed if gates.index is None else cell.drawn
            if self.rematerialise:
                run = jax.checkpoint(run)
            before, last = last, run(before, last, *given[cell.reduces])
        return self.classifier(last)


def mixed_gates(gates: Gates, kind: int) -> tuple[jax.Array, jax.Array]:
    """Returns the weights `float32[E, O]` of a cell's operations and the factor `[E]` of each edge.

    The factor is the sum of the gates of the pairs that hold the edge.

    Args:
      gates: the gates of the space.
      kind: the place of the cell in `KINDS`.
    """
    start = kind * _PER_CELL
    factors = []
    for node in _NODES:
        if len(PAIRS[node]) == 1:
            factors += [jnp.ones(len(PAIRS[node][0]), gates.weight.dtype)]
            continue
        reads = np.array([[source in pair for source in range(node)] for pair in PAIRS[node]])
        factors.append(gates.weight[_pair_row(kind, node), : len(reads)] @ reads)
    weight = gates.weight[start : start + len(EDGES), : len(OPERATIONS)]
    return weight, jnp.concatenate(factors).astype(weight.dtype)


def _drawn_gates(gates, kind):
    """Returns the source, operation, weight and factor of each of a cell's eight drawn edges."""
    sources, rows, factors = [], [], []
    for node in _NODES:
        if len(PAIRS[node]) == 1:
            pair, factor = jnp.array(PAIRS[node][0]), jnp.ones((), gates.weight.dtype)
        else:
            row = _pair_row(kind, node)
            drawn = gates.index[row]
            pair, factor = jnp.array(PAIRS[node])[drawn], gates.weight[row, drawn]
        sources.append(pair)
        rows.append(kind * _PER_CELL + EDGES.index((node, 0)) + pair)
        factors += [factor, factor]
    rows = jnp.concatenate(rows)
    options = gates.index[rows]
    return jnp.concatenate(sources), options, gates.weight[rows, options], jnp.stack(factors)
