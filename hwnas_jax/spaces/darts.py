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
from collections.abc import Sequence
from typing import Annotated, cast

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le, MultipleOf
from flax import nnx

from hwnas_jax.errors import UserError, choose
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.classifier import classifier
from hwnas_jax.nn.darts import (
    INPUTS,
    OPERATIONS,
    AuxiliaryHead,
    CellShape,
    FixedCell,
    SupernetCell,
    cell_operation,
    enter,
)
from hwnas_jax.nn.heads import HeadsPlan
from hwnas_jax.nn.in_training import InTraining
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.nn.outputs import Output
from hwnas_jax.nn.variables import copy_weights
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Decision, Operation, Place, Space
from hwnas_jax.spaces.core.arguments import check_extent_of, image
from hwnas_jax.spaces.core.genotype import KINDS, read_genotype, write_genotype
from hwnas_jax.spaces.core.heads import plan_heads, stand_heads
from hwnas_jax.spaces.core.mixture import Governed, Governor
from hwnas_jax.spaces.core.node_pairs import (
    CHOOSING,
    EDGES,
    NODES,
    PAIRS,
    PER_CELL,
    drawn_gates,
    mixed_gates,
    pair_row,
)
from hwnas_jax.spaces.core.tabulate import OperationTable, made_once

STEM_MULTIPLIER = 3

_Channels = Annotated[int, Ge(2), Le(4096), MultipleOf(2)]
_Cells = Annotated[int, Ge(3), Le(100)]


@SPACES.add
class Darts(Governed, Space):
    """The cell space of DARTS at any width and depth."""

    name = "darts"
    summary = "normal and reduction cells of 4 nodes, 14 edges, 8 operations; channels, cells"
    adds_options = True
    has_features = True
    takes_outputs = True
    takes_sequences = True
    decisions = tuple(
        decision
        for kind in KINDS
        for decision in (
            *(Decision(f"{kind}/{target}<-{source}", OPERATIONS) for target, source in EDGES),
            *(Decision(f"{kind}/{node}", tuple(f"{a}+{b}" for a, b in PAIRS[node]))
              for node in CHOOSING),
        )
    )  # fmt: skip

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        outputs: Sequence[Output] = (),
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
          input_shape: `(H, W, C)` of one image, at least 4x4, or of a sequence of at least 4.
          num_outputs: outputs of the network.
          outputs: what the network puts out; one vector if left out.
          channels: of the supernet's first cells, an even number.
          cells: of the supernet; the cells at a third and at two thirds of the depth reduce.
          network_channels: of the stand-alone network; the supernet's if left out.
          network_cells: of the stand-alone network; the supernet's if left out.
          partial: in the supernet, one in so many channels goes through the operations of an edge;
            the others pass by.
          auxiliary: weight of the loss of a second classifier after the second reduction, which a
            network has while it is trained if it puts out one vector; zero leaves it out.
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
        check_extent_of(self.input_shape, 4, self.name)
        self.outputs = tuple(outputs)
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
            shapes.append(CellShape(reduces, before, last, channels, height == 1))
            before, last = last, shapes[-1].result
        return shapes

    def ends(self, cells: int) -> tuple[int, ...]:
        """Returns the last cell of each stage; a cell that reduces begins a stage."""
        return (*sorted({cells // 3 - 1, 2 * cells // 3 - 1}), cells - 1)

    def heads(self, channels: int, cells: int) -> HeadsPlan:
        """Returns what the heads of a network or supernet read and return."""
        shapes = self.layout(channels, cells)
        stages = [shapes[end].result for end in self.ends(cells)]
        return plan_heads(self, stages, channels, classifier)

    def stem(self, channels: int, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        """Builds the part before the first cell."""
        kernel = ops.window(3, self.input_shape)
        return ops.Stem(self.input_shape[2], STEM_MULTIPLIER * channels, norm, rngs, kernel)

    def kept(self, architecture: np.ndarray, kind: int) -> list[int]:
        """Returns the places in `EDGES` of the edges that the cells of one of `KINDS` keep."""
        kept = []
        for node in NODES:
            pairs = PAIRS[node]
            pair = pairs[architecture[pair_row(kind, node)] if len(pairs) > 1 else 0]
            kept += [EDGES.index((node, source)) for source in pair]
        return kept

    @property
    def governors(self) -> tuple[Governor, ...]:
        """The pair of a node leaves its other edges without effect."""
        found = []
        for kind, node in itertools.product(range(len(KINDS)), CHOOSING):
            closed = np.zeros((self.num_options, node), bool)
            for option, pair in enumerate(PAIRS[node]):
                closed[option] = [source not in pair for source in range(node)]
            edges = [kind * PER_CELL + EDGES.index((node, source)) for source in range(node)]
            found.append(Governor(pair_row(kind, node), edges, closed))
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
        copy_weights(target, source, "stem", "head")
        for fixed, mixed in zip(target.cells, source.cells, strict=True):
            copy_weights(fixed, mixed, "before", "last")
            start = mixed.reduces * PER_CELL
            for operation, ends in zip(fixed.operations, fixed.edges, strict=True):
                edge = EDGES.index(ends)
                option = int(architecture[start + edge])
                nnx.update(operation, mixed.graph.option_of(edge, option))

    @made_once
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table, norm = OperationTable(), network_norm()
        channels = self.network_channels
        table.stands("stem", self.input_shape, functools.partial(self.stem, channels, norm))
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
                    build = functools.partial(
                        cell_operation, name, shape.features, stride, norm, flat=shape.flat
                    )
                    own = (kind * PER_CELL + edge, option)
                    for when in self._keeping(kind, target, source):
                        table.stands(f"{name} stride {stride}", given, build, (own, *when))
        stand_heads(table, self.heads(channels, self.network_cells))
        return table.result()

    def _keeping(self, kind, target, source):
        """Returns conditions; an edge is kept if any of them holds."""
        pairs = PAIRS[target]
        if len(pairs) == 1:
            return [()]
        row = pair_row(kind, target)
        return [((row, number),) for number, pair in enumerate(pairs) if source in pair]

    def to_string(self, architecture: np.ndarray) -> str:
        """Returns the genotype as the paper's code prints it, each node's edges by source."""
        row = self.check(architecture)
        cells = [
            [
                (OPERATIONS[row[kind * PER_CELL + edge]], EDGES[edge][1])
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
            for node, *edges in zip(NODES, cells[kind][::2], cells[kind][1::2], strict=True):
                sources = sorted(source for _, source in edges)
                if tuple(sources) not in PAIRS[node]:
                    raise UserError(
                        f"node {node} of the {kind} cell reads {sources}; it must read two "
                        f"distinct nodes of 0 to {node - 1}"
                    )
                if node in CHOOSING:
                    names[f"{kind}/{node}"] = "+".join(map(str, sources))
                for operation, source in edges:
                    word = choose(operation, OPERATIONS, f"operation in the {kind} cell")
                    names[f"{kind}/{node}<-{source}"] = word
        return self.from_names(names)


class _Network(InTraining):
    """The stand-alone network; in training it has a second classifier and drops edges."""

    def __init__(self, space: Darts, architecture: np.ndarray, norm: Norm, rngs: nnx.Rngs):
        sizes = (space.network_channels, space.network_cells)
        shapes = space.layout(*sizes)
        self.stem = space.stem(space.network_channels, norm, rngs)
        self.cells = nnx.List(
            _fixed_cell(space, architecture, shape, norm, rngs) for shape in shapes
        )
        heads = space.heads(*sizes)
        self.head, self.ends = heads.build(norm, rngs), space.ends(len(shapes))
        self.middle = 2 * len(shapes) // 3
        self.drop_path, self.weight = space.drop_path, space.auxiliary
        features, flat = shapes[self.middle].result[2], shapes[self.middle].flat
        self.auxiliary = (
            AuxiliaryHead(features, space.num_outputs, norm, rngs, flat=flat)
            if space.auxiliary and heads.is_vector
            else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return self._head(self._run(x))

    def _head(self, made):
        return self.head([made[end] for end in self.ends])

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
        heads = [(1.0, self._head(made))]
        if self.auxiliary is not None:
            heads.append((self.weight, self.auxiliary(made[self.middle])))
        return tuple(heads)


def _fixed_cell(space, architecture, shape, norm, rngs):
    kind = int(shape.reduces)
    kept = space.kept(architecture, kind)
    names = [OPERATIONS[architecture[kind * PER_CELL + edge]] for edge in kept]
    return FixedCell(shape, [EDGES[edge] for edge in kept], names, norm, rngs)


class _Supernet(nnx.Module):
    def __init__(self, space: Darts, norm: Norm, rngs: nnx.Rngs, rematerialise: bool):
        shapes = space.layout(space.channels, space.cells)
        self.stem = space.stem(space.channels, norm, rngs)
        self.cells = nnx.List(
            SupernetCell(shape, norm, rngs, partial=space.partial) for shape in shapes
        )
        self.head = space.heads(space.channels, space.cells).build(norm, rngs)
        self.ends, self.rematerialise = space.ends(space.cells), rematerialise

    def __call__(self, x: jax.Array, gates: Gates) -> jax.Array:
        return self.head(self.features(x, gates))

    def features(self, x: jax.Array, gates: Gates) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, `[B, H, W, C]` each."""
        gates = jax.tree.map(jnp.asarray, gates)
        read = mixed_gates if gates.index is None else drawn_gates
        given = [read(gates, kind) for kind in range(len(KINDS))]
        before = last = self.stem(x)
        made = []
        for cell in self.cells:
            run = cell.mixed if gates.index is None else cell.drawn
            if self.rematerialise:
                run = jax.checkpoint(run)
            before, last = last, run(before, last, *given[cell.reduces])
            made.append(last)
        return tuple(made[end] for end in self.ends)
