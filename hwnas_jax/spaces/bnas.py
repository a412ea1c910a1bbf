"""Cells of binary convolutions: weights and activations of one bit each.

The graph of NAS-Bench-201's cell, 4 nodes and 6 edges, with binary 3x3 and 5x5 convolutions in
place of its own. Convolutions between the stages are binary too; first and last layer stay at full
precision, shortcuts have no parameters. With `binary` off the same networks at full precision.

References: Chen et al., "Binarized Neural Architecture Search" (BNAS), AAAI 2020, and "BNAS:
Binarized Neural Architecture Search for Efficient Object Recognition", IJCV 2021; Rastegari et
al., "XNOR-Net", ECCV 2016; Gu et al., "Projection Convolutional Neural Networks", AAAI 2019; Dong
and Yang, "NAS-Bench-201", ICLR 2020 (the cell).
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx

from hwnas_jax.errors import UserError, choose
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.binary_cell import BinaryCells, BinaryReduction, FloatConv, Reduction
from hwnas_jax.nn.kernels.mixed_cell import Candidate
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.nn.quantised import BinaryConv
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import Decision, Operation, Place, Step
from hwnas_jax.spaces.core.tabulate import OperationTable
from hwnas_jax.spaces.nasbench201 import EDGES, OPERATIONS, FixedCell, NasBench201, active_edges

_SHARED = {"none": Candidate("zero"), "skip_connect": Candidate("identity")}
_POOL = {"avg_pool_3x3": Candidate("avg_pool")}
_EDGE = re.compile(r"([^|~+]+)~(\d)")


class _Cell(FixedCell):
    """A cell whose every edge holds one operation."""

    def __init__(self, operations, runs):
        self.edges, self.runs = nnx.List(operations), tuple(map(bool, runs))


class _Skeleton(nnx.Module):
    """Stem, stages of cells, reductions between them, head."""

    def __init__(self, space: "BNAS", make_stage, norm: Norm, rngs: nnx.Rngs):
        widths = space.widths
        self.stem = ops.Stem(space.input_shape[2], widths[0], norm, rngs)
        self.stages = nnx.List(make_stage(width) for width in widths)
        self.reductions = nnx.List(
            space.reduction(narrow, wide, norm, rngs) for narrow, wide in itertools.pairwise(widths)
        )
        self.head = ops.Head(widths[-1], space.num_outputs, norm, rngs)

    def __call__(self, x: jax.Array, *gates: Gates) -> jax.Array:
        x = self.stem(x)
        for number, stage in enumerate(self.stages):
            if number:
                x = self.reductions[number - 1](x)
            x = stage(x, *gates)
        return self.head(x)


class BNAS(NasBench201):
    """NAS-Bench-201's graph with binary convolutions."""

    name = "bnas"
    summary = "cells of 6 binary convolutions (15,625); channels, cells, binary, projected"

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        channels: int = 16,
        cells: int = 5,
        binary: bool = True,
        projected: bool = False,
    ):
        """Sets the size.

        Args:
          input_shape: `(H, W, C)` of one image; `H` and `W` at least 4.
          num_outputs: number of classes.
          channels: width of the first of three stages; the others have twice and four times it.
          cells: cells per stage.
          binary: False for full precision.
          projected: binary kernels are trained with learned projections (PCNN) in place of the
            plain straight-through gradient (XNOR).

        Raises:
          UserError: for a width or depth below one, images too small to halve twice, or
            projections at full precision.
        """
        for name, value in (("binary", binary), ("projected", projected)):
            if not isinstance(value, bool):
                raise UserError(f"space.args.{name} must be true or false, got {value!r}")
        if projected and not binary:
            raise UserError("space.args.projected is for binary kernels: it needs binary true")
        super().__init__(
            input_shape=input_shape, num_outputs=num_outputs, channels=channels, cells=cells
        )
        self.binary, self.projected = binary, projected
        self.args |= {"binary": binary, "projected": projected}
        self.conv: Callable[..., nnx.Module] = (
            functools.partial(BinaryConv, projected=projected) if binary else FloatConv
        )
        self.reduction = functools.partial(BinaryReduction if binary else Reduction, kind=self.conv)
        prefix = "bin_conv" if binary else "conv"
        convs = {f"{prefix}_{k}x{k}": Candidate("conv", k) for k in (3, 5)}
        self.candidates = {**_SHARED, **convs, **_POOL}
        options = tuple(self.candidates)
        self.decisions = tuple(Decision(f"{target}<-{source}", options) for target, source in EDGES)

    def _build(self, option: str, features: int, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        candidate = self.candidates[option]
        match candidate.kind:
            case "zero":
                return ops.Zero()
            case "identity":
                return ops.Identity()
            case "avg_pool":
                return ops.AvgPool3x3()
        return self.conv(features, features, candidate.kernel, norm, rngs)

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        def stage(width):
            return BinaryCells(
                self.cells, width, EDGES, tuple(self.candidates.values()), rngs,
                binary=self.binary, projected=self.projected, axis_name=axis_name,
                rematerialise=rematerialise,
            )  # fmt: skip

        return _Skeleton(self, stage, supernet_norm(axis_name), rngs)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        options, norm = list(self.to_names(architecture).values()), network_norm(axis_name)
        weight = np.eye(self.num_options, dtype=np.float32)[self.check(architecture)]
        runs = active_edges(weight) * (weight[:, 0] == 0)

        def stage(width):
            return nnx.Sequential(
                *(
                    _Cell([self._build(option, width, norm, rngs) for option in options], runs)
                    for _ in range(self.cells)
                )
            )

        return _Skeleton(self, stage, norm, rngs)

    def inherit(self, network, architecture: np.ndarray, supernet) -> None:
        architecture = self.check(architecture)
        kinds = [candidate.kind for candidate in self.candidates.values()]
        for part in ("stem", "head"):
            nnx.update(getattr(network, part), nnx.state(getattr(supernet, part), nnx.Param))
        for own, other in zip(network.reductions, supernet.reductions, strict=True):
            nnx.update(own, nnx.state(other, nnx.Param))
        for fixed, mixed in zip(network.stages, supernet.stages, strict=True):
            for number, cell in enumerate(fixed.layers):
                for edge, option in enumerate(architecture):
                    if kinds[option] == "conv":
                        kernel, *projection = mixed.kernel_of(number, edge, int(option))
                        cell.edges[edge].kernel[...] = kernel
                        for matrix in projection:
                            cell.edges[edge].projection[...] = matrix

    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table, norm, shape = OperationTable(), network_norm(), self.input_shape
        table.stands("stem", shape, lambda r: ops.Stem(shape[2], self.channels, norm, r))
        height, width = shape[:2]
        for stage, channels in enumerate(self.widths):
            if stage:
                narrow = self.widths[stage - 1]
                reduce = functools.partial(self.reduction, narrow, channels, norm)
                table.stands("reduction", (height, width, narrow), reduce)
                height, width = -(-height // 2), -(-width // 2)
            for row, decision in enumerate(self.decisions):
                for column, option in enumerate(decision.options):
                    if option == "none":
                        continue
                    build = functools.partial(self._build, option, channels, norm)
                    table.stands(
                        option, (height, width, channels), build, ((row, column),),
                        count=self.cells,
                    )  # fmt: skip
        last = self.widths[-1]
        classes = self.num_outputs
        table.stands("head", (height, width, last), lambda r: ops.Head(last, classes, norm, r))
        return table.result()

    def graph(self, architecture: np.ndarray) -> tuple[Step, ...]:
        """Returns what the network of `architecture` (`int32[6]`) computes, step by step."""
        return tuple(
            dataclasses.replace(step, operation=self._renamed(step.operation))
            for step in super().graph(architecture)
        )

    def _renamed(self, operation):
        name, space, shape = operation.partition(" ")
        own = dict(zip(OPERATIONS, self.candidates, strict=True))
        return own.get(name, name) + space + shape

    def to_string(self, architecture: np.ndarray) -> str:
        text = super().to_string(architecture)
        return _EDGE.sub(lambda found: f"{self._renamed(found[1])}~{found[2]}", text)

    def from_string(self, text: str) -> np.ndarray:
        found = _EDGE.findall(text)
        if [int(source) for _, source in found] != [source for _, source in EDGES]:
            raise UserError(
                f"{text!r} is no {self.name} cell; the form is |op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
            )
        known = list(self.candidates)
        names = [choose(name, known, f"operation in {text!r}") for name, _ in found]
        decisions = [decision.name for decision in self.decisions]
        architecture = self.from_names(dict(zip(decisions, names, strict=True)))
        if self.to_string(architecture) != text:
            raise UserError(f"{text!r} is malformed; meant is {self.to_string(architecture)!r}?")
        return architecture
