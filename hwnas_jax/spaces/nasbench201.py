"""The cell space of NAS-Bench-201.

A cell has four nodes and an edge from every node to every later one; each of the six edges
carries one of five operations. Three stages of `cells` cells at `channels`, twice and four times
as many channels, with a residual reduction between stages. The standard size is 16 channels and
5 cells on 32x32 images.

References: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture
Search", ICLR 2020.
"""

import functools
import itertools
import re
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.errors import UserError, choose
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.cell import MixedCells
from hwnas_jax.nn.kernels.mixed_cell import Candidate
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import Decision, Operation, Place, Step
from hwnas_jax.spaces.core.four_nodes import EDGES, FourNodes, active_edges
from hwnas_jax.spaces.core.tabulate import OperationTable

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
STAGES = 3


def _operation(name: str, features: int, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
    match name:
        case "none":
            return ops.Zero()
        case "skip_connect":
            return ops.Identity()
        case "nor_conv_1x1":
            return ops.ReLUConvNorm(features, features, 1, norm, rngs)
        case "nor_conv_3x3":
            return ops.ReLUConvNorm(features, features, 3, norm, rngs)
        case "avg_pool_3x3":
            return ops.AvgPool3x3()
    raise ValueError(f"operation must be one of {OPERATIONS}, got {name!r}")


_CANDIDATES = (
    Candidate("zero"),
    Candidate("identity"),
    Candidate("conv", 1),
    Candidate("conv", 3),
    Candidate("avg_pool"),
)


class FixedCell(nnx.Module):
    """A cell whose every edge holds one operation.

    Edges off every path from input to output are built, so that parameters count as published,
    but do not run: they cannot change the output.
    """

    def __init__(self, features: int, architecture: np.ndarray, norm: Norm, rngs: nnx.Rngs):
        self.edges = nnx.List(
            _operation(OPERATIONS[option], features, norm, rngs) for option in architecture
        )
        weight = np.eye(len(OPERATIONS), dtype=np.float32)[architecture]
        runs = active_edges(weight) * (architecture != OPERATIONS.index("none"))
        self.runs = tuple(bool(value) for value in runs)

    def __call__(self, x: jax.Array) -> jax.Array:
        nodes = [x]
        for node in range(1, 4):
            incoming = [
                self.edges[edge](nodes[source])
                for edge, (target, source) in enumerate(EDGES)
                if target == node and self.runs[edge]
            ]
            nodes.append(sum(incoming) if incoming else jnp.zeros_like(x))
        return nodes[-1]


class _Skeleton(nnx.Module):
    """Stem, three stages of cells, reductions between them, head."""

    def __init__(self, space: "NasBench201", make_stage, norm: Norm, rngs: nnx.Rngs):
        widths = space.widths
        self.stem = ops.Stem(space.input_shape[2], widths[0], norm, rngs)
        self.stages = nnx.List(make_stage(width) for width in widths)
        self.reductions = nnx.List(
            ops.ResidualReduction(narrow, wide, norm, rngs)
            for narrow, wide in itertools.pairwise(widths)
        )
        self.head = ops.Head(widths[-1], space.num_outputs, norm, rngs)

    def __call__(self, x: jax.Array, *cell_inputs: Gates) -> jax.Array:
        x = self.stem(x)
        for number, stage in enumerate(self.stages):
            if number:
                x = self.reductions[number - 1](x)
            x = stage(x, *cell_inputs)
        return self.head(x)


class NasBench201(FourNodes):
    """NAS-Bench-201's cell space at any width and depth."""

    name = "nasbench201"
    summary = "cells of 4 nodes, 6 edges, 5 operations (15,625); channels, cells"
    decisions = tuple(Decision(f"{target}<-{source}", OPERATIONS) for target, source in EDGES)

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        channels: int = 16,
        cells: int = 5,
    ):
        """Sets the size.

        Args:
          input_shape: `(H, W, C)` of one image; `H` and `W` at least 4.
          num_outputs: number of classes.
          channels: width of the first stage.
          cells: cells per stage.

        Raises:
          UserError: for a width or depth below one, or images too small to halve twice.
        """
        for key, value in (("channels", channels), ("cells", cells)):
            if not isinstance(value, int) or value < 1:
                raise UserError(f"space.args.{key} must be a whole number above 0, got {value!r}")
        if min(input_shape[:2]) < 4:
            raise UserError(f"{self.name} needs images of at least 4x4, got {input_shape}")
        height, width, features = (int(size) for size in input_shape)
        self.input_shape = (height, width, features)
        self.num_outputs = int(num_outputs)
        self.channels, self.cells = channels, cells
        self.args = {"channels": channels, "cells": cells}

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.channels * 2**stage for stage in range(STAGES))

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        def stage(width):
            return MixedCells(
                self.cells, width, EDGES, _CANDIDATES, rngs,
                axis_name=axis_name, rematerialise=rematerialise,
            )  # fmt: skip

        return _Skeleton(self, stage, supernet_norm(axis_name), rngs)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        architecture = self.check(architecture)
        norm = network_norm(axis_name)

        def stage(width):
            cells = [FixedCell(width, architecture, norm, rngs) for _ in range(self.cells)]
            return nnx.Sequential(*cells)

        return _Skeleton(self, stage, norm, rngs)

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        architecture = self.check(architecture)
        network, supernet = cast(_Skeleton, network), cast(_Skeleton, supernet)
        pairs: list[tuple[Any, Any]] = [
            (network.stem, supernet.stem),
            (network.head, supernet.head),
        ]
        pairs += zip(network.reductions, supernet.reductions, strict=True)
        for target, source in pairs:
            nnx.update(target, nnx.state(source, nnx.Param))
        for fixed, mixed in zip(network.stages, supernet.stages, strict=True):
            for number, cell in enumerate(fixed.layers):
                for edge, option in enumerate(architecture):
                    if _CANDIDATES[option].kind == "conv":
                        kernel = mixed.kernel_of(number, edge, int(option))
                        cell.edges[edge].conv.kernel[...] = kernel

    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        height, width, features = self.input_shape
        table = OperationTable()
        norm = network_norm()
        table.stands("stem", self.input_shape, lambda r: ops.Stem(features, self.channels, norm, r))
        shape = (height, width, self.channels)
        for stage, channels in enumerate(self.widths):
            if stage:
                narrow = self.widths[stage - 1]
                reduce = functools.partial(ops.ResidualReduction, narrow, channels, norm)
                table.stands("reduction", shape, reduce)
                shape = (-(-shape[0] // 2), -(-shape[1] // 2), channels)
            for decision in range(self.num_decisions):
                for option, name in enumerate(OPERATIONS):
                    if name == "none":
                        continue
                    build = functools.partial(_operation, name, channels, norm)
                    table.stands(name, shape, build, ((decision, option),), count=self.cells)
        table.stands("head", shape, lambda r: ops.Head(self.widths[-1], self.num_outputs, norm, r))
        return table.result()

    def graph(self, architecture: np.ndarray) -> tuple[Step, ...]:
        """Returns what the network of `architecture` (`int32[6]`) computes, step by step."""
        architecture = self.canonical(self.check(architecture)[None])[0]
        height, width, features = self.input_shape
        steps = [Step("operation", (0,), f"stem {height}x{width}x{features}")]
        for stage, channels in enumerate(self.widths):
            shape = f"{height}x{width}x{channels}"
            for _ in range(self.cells):
                nodes = [len(steps)]
                for node in range(1, 4):
                    incoming = []
                    for (target, source), option in zip(EDGES, architecture, strict=True):
                        if target != node or OPERATIONS[option] == "none":
                            continue
                        if OPERATIONS[option] == "skip_connect":
                            incoming.append(nodes[source])
                            continue
                        name = f"{OPERATIONS[option]} {shape}"
                        steps.append(Step("operation", (nodes[source],), name))
                        incoming.append(len(steps))
                    kind = "sum" if incoming else "zeros"
                    steps.append(Step(kind, tuple(incoming) or (nodes[0],)))
                    nodes.append(len(steps))
            last = "head" if stage == STAGES - 1 else "reduction"
            steps.append(Step("operation", (len(steps),), f"{last} {shape}"))
            height, width = -(-height // 2), -(-width // 2)
        return tuple(steps)

    def to_string(self, architecture: np.ndarray) -> str:
        names = [OPERATIONS[option] for option in self.check(architecture)]
        nodes = []
        for node in range(1, 4):
            edges = [
                f"{name}~{source}"
                for name, (target, source) in zip(names, EDGES, strict=True)
                if target == node
            ]
            nodes.append(f"|{'|'.join(edges)}|")
        return "+".join(nodes)

    def from_string(self, text: str) -> np.ndarray:
        found = re.findall(r"([^|~+]+)~(\d)", text)
        names = [name for name, _ in found]
        sources = [int(source) for _, source in found]
        if sources != [source for _, source in EDGES]:
            raise UserError(
                f"{text!r} is no {self.name} cell; the form is |op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
            )
        options = [OPERATIONS.index(choose(n, OPERATIONS, f"operation in {text!r}")) for n in names]
        architecture = np.array(options, np.int32)
        if self.to_string(architecture) != text:
            raise UserError(f"{text!r} is malformed; meant is {self.to_string(architecture)!r}?")
        return architecture
