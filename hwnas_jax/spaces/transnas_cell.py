"""The cell level of TransNAS-Bench-101: one cell of four nodes in every place of a fixed network.

Each of six edges carries one of four operations: 4,096 cells, written as in `64-41414-1_02_333`.
The middle says how the modules, two cells each, change the shape, as at the macro level: keep it
(1), double the channels (2), halve the image (3), or both (4). The stem halves twice.

References: Duan et al., "TransNAS-Bench-101: Improving Transferability and Generalizability of
Cross-Task Neural Architecture Search", CVPR 2021.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, cast

import jax
import numpy as np
from annotated_types import Ge, Le, MultipleOf
from flax import nnx

from hwnas_jax.errors import UserError, shown
from hwnas_jax.nn.cell_operations import (
    NONE,
    SKIP_CONNECT,
    CellOperation,
    names,
    relu_conv_norm,
    suited,
)
from hwnas_jax.nn.cells import FixedCell, mixed_cells
from hwnas_jax.nn.classifier import classifier
from hwnas_jax.nn.heads import HeadsPlan
from hwnas_jax.nn.mixed_path import MixedCells
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.nn.operations import window
from hwnas_jax.nn.outputs import Output
from hwnas_jax.nn.transnas import Stem
from hwnas_jax.nn.variables import copy_weights
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Operation, Place, Space
from hwnas_jax.spaces.core.arguments import extent, image
from hwnas_jax.spaces.core.four_nodes import EDGES, FourNodes, running_edges
from hwnas_jax.spaces.core.heads import plan_heads, stand_heads
from hwnas_jax.spaces.core.tabulate import OperationTable, made_once

CELL_OPERATIONS = (NONE, SKIP_CONNECT, relu_conv_norm(1), relu_conv_norm(3))
_CELLS_PER_MODULE = 2
_WIDENS, _HALVES = "24", "34"


class _Cell(NamedTuple):
    """The shape of a cell.

    Attributes:
      shape: of its input, `(H, W, C)`.
      features: channels of its output.
      stride: of the edges that leave its input.
    """

    shape: tuple[int, int, int]
    features: int
    stride: int

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the input's shape."""
        return self.stride == 1 and self.features == self.shape[2]

    @property
    def result(self) -> tuple[int, int, int]:
        """The shape of the output."""
        height, width = (-(-size // self.stride) for size in self.shape[:2])
        return height, width, self.features


@SPACES.add
class TransNASCell(FourNodes, Space):
    """TransNAS-Bench-101's cell level at any size."""

    name = "transnas_cell"
    summary = "cells of 4 nodes, 6 edges, 4 operations (4,096), TransNAS-Bench-101 cells"
    cell_operations: tuple[CellOperation, ...] = CELL_OPERATIONS
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
        channels: Annotated[int, Ge(2), Le(4096), MultipleOf(2)] = 64,
        macro: str = "41414",
        stem_halvings: Annotated[int, Ge(0), Le(2)] = 2,
    ):
        """Sets the size; by default as published.

        Args:
          input_shape: `(H, W, C)` of one image.
          num_outputs: outputs of the network.
          outputs: what the network puts out; one vector if left out.
          channels: of the stem, an even number.
          macro: a digit for each module, one to eight of them.
          stem_halvings: how often the stem halves the image, at most twice.

        Raises:
          UserError: for other digits, or images too small to halve so often.
        """
        if not re.fullmatch("[1-4]{1,8}", macro):
            raise UserError(
                f"space.args.macro must be one to eight digits from 1 to 4, as in '41414', got "
                f"{shown(macro)}"
            )
        height, width, features = image(input_shape)
        halvings = stem_halvings + sum(digit in _HALVES for digit in macro)
        if extent(input_shape) < 2**halvings:
            raise UserError(
                f"images of {height}x{width} cannot be halved {halvings} times; lower "
                f"space.args.stem_halvings, or the digits 3 and 4 of space.args.macro"
            )
        self.input_shape, self.num_outputs = (height, width, features), int(num_outputs)
        self.outputs = tuple(outputs)
        self.cell_operations = suited(self.cell_operations, self.input_shape)
        self.channels, self.macro, self.stem_halvings = channels, macro, stem_halvings
        self.args = {"channels": channels, "macro": macro, "stem_halvings": stem_halvings}
        self._decide()

    def layout(self) -> list[_Cell]:
        """Returns the shape of each cell."""
        height, width = (-(-size // 2**self.stem_halvings) for size in self.input_shape[:2])
        shape, cells = (height, width, self.channels), []
        for digit in self.macro:
            for number in range(_CELLS_PER_MODULE):
                changes = digit if number == 0 else ""
                features = shape[2] * (2 if changes and changes in _WIDENS else 1)
                cells.append(_Cell(shape, features, 2 if changes and changes in _HALVES else 1))
                shape = cells[-1].result
        return cells

    def heads(self) -> HeadsPlan:
        """Returns what the heads read and return; a cell that changes the shape begins a stage."""
        cells = self.layout()
        before = [a.result for a, b in itertools.pairwise(cells) if not b.keeps_shape]
        return plan_heads(self, [*before, cells[-1].result], self.channels, classifier)

    def _runs(self) -> list[tuple[_Cell, int]]:
        """Returns the cells and how many equal ones follow one another.

        A cell that changes the shape stands alone.
        """
        runs: list[tuple[_Cell, int]] = []
        for cell in self.layout():
            if cell.keeps_shape and runs and runs[-1][0] == cell:
                runs[-1] = (cell, runs[-1][1] + 1)
            else:
                runs.append((cell, 1))
        return runs

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        def build(cell, count, rngs):
            common = (count, cell.features, EDGES, self.cell_operations, rngs)
            options = {"axis_name": axis_name, "rematerialise": rematerialise}
            if cell.keeps_shape:
                return mixed_cells(*common, **options)
            return MixedCells(*common, features_in=cell.shape[2], stride=cell.stride, **options)

        return _Skeleton(self, self._runs(), build, supernet_norm(axis_name), rngs)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        architecture, norm = self.check(architecture), network_norm(axis_name)
        chosen = [self.cell_operations[option] for option in architecture]
        runs = running_edges(architecture[None])[0]

        def build(cell, count, rngs):
            del count
            return FixedCell(
                chosen, EDGES, runs, cell.features, norm, rngs,
                features_in=cell.shape[2], stride=cell.stride,
            )  # fmt: skip

        return _Skeleton(self, [(cell, 1) for cell in self.layout()], build, norm, rngs)

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        architecture = self.check(architecture)
        target, source = cast(_Skeleton, network), cast(_Skeleton, supernet)
        copy_weights(target, source, "stem", "head")
        cells: Any = iter(target.cells)
        for run, (_, count) in zip(source.cells, self._runs(), strict=True):
            for number in range(count):
                edges = next(cells).edges
                for edge, option in enumerate(architecture):
                    nnx.update(edges[edge], cast(Any, run).weights_of(number, edge, int(option)))

    @made_once
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table, norm = OperationTable(), network_norm()
        table.stands("stem", self.input_shape, functools.partial(self._stem, norm))
        for cell in self.layout():
            for edge, (_, source) in enumerate(EDGES):
                given, stride = (cell.shape, cell.stride) if source == 0 else (cell.result, 1)
                keeps = stride == 1 and given[2] == cell.features
                for option, operation in enumerate(self.cell_operations):
                    if operation.kind == "zero" or (operation.kind == "identity" and keeps):
                        continue
                    table.stands(
                        f"{operation.name} to {cell.features} stride {stride}", given,
                        functools.partial(operation.build, given[2], cell.features, stride, norm),
                        ((edge, option),),
                    )  # fmt: skip
        stand_heads(table, self.heads())
        return table.result()

    def _stem(self, norm: Norm, rngs: nnx.Rngs) -> Stem:
        return Stem(
            self.input_shape[2], self.channels, self.stem_halvings, norm, rngs,
            kernel=window(3, self.input_shape),
        )  # fmt: skip

    def to_string(self, architecture: np.ndarray) -> str:
        """Returns channels, modules, and a digit for each edge, "64-41414-1_02_333"."""
        digits = "".join(map(str, self.check(architecture)))
        return f"{self.channels}-{self.macro}-{digits[0]}_{digits[1:3]}_{digits[3:]}"

    def from_string(self, text: str) -> np.ndarray:
        found = re.fullmatch(r"(\d+)-(\d+)-([0-3])_([0-3]{2})_([0-3]{3})", text)
        options = names(self.cell_operations)
        if found is None or (found[1], found[2]) != (str(self.channels), self.macro):
            raise UserError(
                f"{shown(text)} is no cell of {self.name} here; the form is "
                f"'{self.channels}-{self.macro}-1_02_333', with digits from 0 to 3 for "
                f"{', '.join(options)}"
            )
        digits = found[3] + found[4] + found[5]
        chosen = zip(self.decisions, digits, strict=True)
        return self.from_names({decision.name: options[int(digit)] for decision, digit in chosen})


class _Skeleton(nnx.Module):
    """Stem, cells, heads. A cell that changes the shape begins a new stage."""

    def __init__(self, space: TransNASCell, runs, build, norm: Norm, rngs: nnx.Rngs):
        self.stem = space._stem(norm, rngs)
        self.cells = nnx.List(build(cell, count, rngs) for cell, count in runs)
        self.begins = tuple(not cell.keeps_shape for cell, _ in runs)
        self.head = space.heads().build(norm, rngs)

    def __call__(self, x: jax.Array, *gates: Gates) -> jax.Array:
        return self.head(self.features(x, *gates))

    def features(self, x: jax.Array, *gates: Gates) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, `[B, H, W, C]` each."""
        x, outputs = self.stem(x), []
        for number, (cell, begins) in enumerate(zip(self.cells, self.begins, strict=True)):
            if number and begins:
                outputs.append(x)
            x = cell(x, *gates)
        return (*outputs, x)
