"""The cell space of NAS-Bench-201.

A cell has four nodes and an edge from every node to every later one; each of the six edges
carries one of five operations. Three stages have `cells` cells each, at `channels`, twice and four
times as many channels, with a residual reduction between stages. The standard size is 16 channels
and 5 cells on 32x32 images.

A cell space with operations of its own is a subclass with other `cell_operations`.

References: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture
Search", ICLR 2020.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import jax
import numpy as np
from flax import nnx

from hwnas_jax.errors import UserError, shortened
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.cell_operations import (
    AVG_POOL_3X3,
    NONE,
    SKIP_CONNECT,
    CellOperation,
    names,
    relu_conv_norm,
    suited,
)
from hwnas_jax.nn.cells import FixedCell, mixed_cells
from hwnas_jax.nn.heads import HeadsPlan
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.nn.outputs import Output
from hwnas_jax.nn.variables import copy_weights
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Block, Operation, Place, Space, Step
from hwnas_jax.spaces.core.arguments import Cells, Channels, check_extent_of, image
from hwnas_jax.spaces.core.four_nodes import EDGES, FourNodes, running_edges
from hwnas_jax.spaces.core.heads import halving_stages, head_steps, plan_heads, stand_heads
from hwnas_jax.spaces.core.tabulate import OperationTable, made_once

CELL_OPERATIONS = (NONE, SKIP_CONNECT, relu_conv_norm(1), relu_conv_norm(3), AVG_POOL_3X3)
OPERATIONS = names(CELL_OPERATIONS)
_FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"


class CellChoices(FourNodes):
    """The decisions of NAS-Bench-201's cells and their notation, without a network."""

    cell_operations: tuple[CellOperation, ...] = CELL_OPERATIONS

    def __init__(self, name: str):
        self.name = name
        self._decide()

    def to_string(self, architecture: np.ndarray) -> str:
        """Returns the edges into each node, "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"."""
        chosen = self.to_names(architecture).values()
        nodes = []
        for node in range(1, 4):
            edges = [
                f"{name}~{source}"
                for name, (target, source) in zip(chosen, EDGES, strict=True)
                if target == node
            ]
            nodes.append(f"|{'|'.join(edges)}|")
        return "+".join(nodes)

    def from_string(self, text: str) -> np.ndarray:
        edges = [edge.rpartition("~") for edge in self._edges(text)]
        if [source for _, _, source in edges] != [str(source) for _, source in EDGES]:
            raise UserError(f"{shortened(text)!r} is no {self.name} cell; the form is {_FORM}")
        decisions = [decision.name for decision in self.decisions]
        return self.from_names({d: name for d, (name, _, _) in zip(decisions, edges, strict=True)})

    def _edges(self, text: str) -> list[str]:
        """Returns what stands between the bars of a cell; nothing for a text of another form."""
        nodes = [node.strip() for node in text.strip().split("+")]
        if not all(len(node) > 1 and node[0] == node[-1] == "|" for node in nodes):
            return []
        edges = [node[1:-1].split("|") for node in nodes]
        if [len(into) for into in edges] != [1, 2, 3]:
            return []
        return [edge.strip() for into in edges for edge in into]


@SPACES.add
class NasBench201(CellChoices, Space):
    """NAS-Bench-201's cell space at any width and depth.

    Attributes:
      num_stages: number of stages; each has twice as many channels as the one before.
    """

    num_stages: ClassVar[int] = 3
    name = "nasbench201"
    summary = "cells of 4 nodes, 6 edges, 5 operations (15,625); channels, cells"
    adds_options = True
    has_features = True
    takes_outputs = True
    takes_sequences = True

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        outputs: Sequence[Output] = (),
        channels: Channels = 16,
        cells: Cells = 5,
    ):
        """Sets the size.

        Args:
          input_shape: `(H, W, C)` of one image, at least 4x4, or of a sequence of at least 4.
          num_outputs: outputs of the network.
          outputs: what the network puts out; one vector if left out.
          channels: width of the first of three stages; the others have twice and four times it.
          cells: cells per stage.

        Raises:
          UserError: for images too small to halve twice.
        """
        self.input_shape, self.num_outputs = image(input_shape), int(num_outputs)
        check_extent_of(self.input_shape, 4, self.name)
        self.outputs = tuple(outputs)
        self.cell_operations = suited(self.cell_operations, self.input_shape)
        self.channels, self.cells = channels, cells
        self.args = {"channels": channels, "cells": cells}
        self._decide()

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.channels * 2**stage for stage in range(self.num_stages))

    @property
    def num_layers(self) -> int:
        return self.num_stages * self.cells * len(EDGES)

    @property
    def cut_blocks(self) -> tuple[Block, ...]:
        """A block for each stage. All read the same decisions, since all cells are equal."""
        return (Block(((), tuple(range(self.num_decisions)))),) * self.num_stages

    def heads(self) -> HeadsPlan:
        """Returns what the heads read and return."""
        stages = halving_stages(self.input_shape, self.widths)
        return plan_heads(self, stages, self.channels, ops.Head)

    def stem(self, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        """Builds the part before the first stage."""
        kernel = ops.window(3, self.input_shape)
        return ops.Stem(self.input_shape[2], self.channels, norm, rngs, kernel)

    def reduction(self, narrow: int, wide: int, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        """Builds the part between two stages, which halves the image."""
        return ops.ResidualReduction(narrow, wide, norm, rngs, ops.window(3, self.input_shape))

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        def stage(width):
            return self.mixed_stage(width, rngs, axis_name=axis_name, rematerialise=rematerialise)

        return _Skeleton(self, stage, supernet_norm(axis_name), rngs)

    def mixed_stage(self, width: int, rngs: nnx.Rngs, **options: Any) -> nnx.Module:
        """Builds the cells of a stage of the supernet, `width` channels wide.

        Args:
          width: channels.
          rngs: for the initial weights.
          options: `axis_name` and `rematerialise`, as `supernet` is given them.
        """
        return mixed_cells(self.cells, width, EDGES, self.cell_operations, rngs, **options)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        architecture = self.check(architecture)
        chosen = [self.cell_operations[option] for option in architecture]
        runs, norm = running_edges(architecture[None])[0], network_norm(axis_name)

        def stage(width):
            return nnx.Sequential(
                *(FixedCell(chosen, EDGES, runs, width, norm, rngs) for _ in range(self.cells))
            )

        return _Skeleton(self, stage, norm, rngs)

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        architecture = self.check(architecture)
        network, supernet = cast(_Skeleton, network), cast(_Skeleton, supernet)
        copy_weights(network, supernet, "stem", "head", "reductions")
        for fixed, mixed in zip(network.stages, supernet.stages, strict=True):
            for number, cell in enumerate(fixed.layers):
                for edge, option in enumerate(architecture):
                    nnx.update(cell.edges[edge], mixed.weights_of(number, edge, int(option)))

    @made_once
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table, norm, heads = OperationTable(), network_norm(), self.heads()
        table.stands("stem", self.input_shape, functools.partial(self.stem, norm))
        for stage, (channels, shape) in enumerate(zip(self.widths, heads.stages, strict=True)):
            if stage:
                narrow = self.widths[stage - 1]
                table.stands(
                    "reduction", heads.stages[stage - 1],
                    functools.partial(self.reduction, narrow, channels, norm),
                )  # fmt: skip
            for decision in range(self.num_decisions):
                for option, operation in enumerate(self.cell_operations):
                    if operation.kind == "zero":
                        continue
                    build = functools.partial(operation.build, channels, channels, 1, norm)
                    table.stands(
                        operation.name, shape, build, ((decision, option),), count=self.cells
                    )
        stand_heads(table, heads)
        return table.result()

    def graph(self, architecture: np.ndarray) -> tuple[Step, ...]:
        architecture = self.canonical(self.check(architecture)[None])[0]
        chosen = [self.cell_operations[option] for option in architecture]
        heads, ends = self.heads(), []
        shapes = ["x".join(map(str, shape)) for shape in (self.input_shape, *heads.stages)]
        steps = [Step("operation", (0,), f"stem {shapes[0]}")]
        for stage, shape in enumerate(shapes[1:]):
            if stage:
                steps.append(Step("operation", (len(steps),), f"reduction {shapes[stage]}"))
            for _ in range(self.cells):
                nodes = [len(steps)]
                for node in range(1, 4):
                    incoming = []
                    for (target, source), operation in zip(EDGES, chosen, strict=True):
                        if target != node or operation.kind == "zero":
                            continue
                        if operation.kind == "identity":
                            incoming.append(nodes[source])
                            continue
                        name = f"{operation.name} {shape}"
                        steps.append(Step("operation", (nodes[source],), name))
                        incoming.append(len(steps))
                    kind = "sum" if incoming else "zeros"
                    steps.append(Step(kind, tuple(incoming) or (nodes[0],)))
                    nodes.append(len(steps))
            ends.append(len(steps))
        return (*steps, *head_steps(heads, len(steps), ends))


class _Skeleton(nnx.Module):
    """Stem, stages of cells, reductions between them, head."""

    def __init__(self, space: NasBench201, make_stage, norm: Norm, rngs: nnx.Rngs):
        widths = space.widths
        self.stem = space.stem(norm, rngs)
        self.stages = nnx.List(make_stage(width) for width in widths)
        self.reductions = nnx.List(
            space.reduction(narrow, wide, norm, rngs) for narrow, wide in itertools.pairwise(widths)
        )
        self.head = space.heads().build(norm, rngs)

    def __call__(self, x: jax.Array, *gates: Gates) -> jax.Array:
        return self.head(self.features(x, *gates))

    def features(self, x: jax.Array, *gates: Gates) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, `[B, H, W, C]` each."""
        outputs = []
        for number in range(len(self.stages)):
            x = self.block(number, x, *gates)
            outputs.append(x)
        return tuple(outputs)

    def block(self, number: int, x: jax.Array, *gates: Gates) -> jax.Array:
        """Runs one stage, with the stem or the reduction before it."""
        for place in range(2):
            x = self.part(number, place, x, *gates)
        return x

    def part(self, number: int, place: int, x: jax.Array, *gates: Gates) -> jax.Array:
        """Runs what stands before the cells of a stage (place zero), or the cells."""
        if place:
            return self.stages[number](x, *gates)
        return self.reductions[number - 1](x) if number else self.stem(x)
