"""The cell level of TransNAS-Bench-101: one cell of four nodes in every place of a fixed network.

Each of six edges carries one of four operations: 4,096 cells, written as in `64-41414-1_02_333`,
where the middle says how the modules, two cells each, change the shape, as at the macro level:
keep it (1), double the channels (2), halve the image (3), or both (4). The stem halves twice.

References: Duan et al., "TransNAS-Bench-101: Improving Transferability and Generalizability of
Cross-Task Neural Architecture Search", CVPR 2021.
"""

import functools
import re
from typing import Any, cast

import jax
import numpy as np
from flax import nnx

from hwnas_jax.errors import UserError
from hwnas_jax.nn.cell import MixedCells
from hwnas_jax.nn.classifier import Classifier
from hwnas_jax.nn.kernels.mixed_cell import Candidate
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.nn.transnas import OPERATIONS, EnteringCell, FixedCell, Stem, edge_operation
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import Decision, Operation, Place
from hwnas_jax.spaces.core.four_nodes import EDGES, FourNodes, running_edges
from hwnas_jax.spaces.core.tabulate import OperationTable

_CANDIDATES = (
    Candidate("zero"),
    Candidate("identity"),
    Candidate("conv", 1),
    Candidate("conv", 3),
)
_CELLS_PER_MODULE = 2
_WIDENS, _HALVES = "24", "34"


class TransNASCell(FourNodes):
    """TransNAS-Bench-101's cell level at any size."""

    name = "transnas_cell"
    summary = "cells of 4 nodes, 6 edges, 4 operations (4,096), TransNAS-Bench-101 cells"
    decisions = tuple(Decision(f"{target}<-{source}", OPERATIONS) for target, source in EDGES)

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        channels: int = 64,
        macro: str = "41414",
        stem_halvings: int = 2,
    ):
        """Sets the size; by default as published.

        Args:
          input_shape: `(H, W, C)` of one image.
          num_outputs: number of classes.
          channels: of the stem, an even number.
          macro: a digit for each module, one to eight of them.
          stem_halvings: how often the stem halves the image, at most twice.

        Raises:
          UserError: for numbers out of range, other digits, or images too small to halve so often.
        """
        for key, value, low, high in (
            ("channels", channels, 2, 4096), ("stem_halvings", stem_halvings, 0, 2),
        ):  # fmt: skip
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise UserError(
                    f"space.args.{key} must be a whole number from {low} to {high}, got {value!r}"
                )
        if channels % 2:
            raise UserError(f"space.args.channels must be even, got {channels}")
        if not isinstance(macro, str) or not re.fullmatch("[1-4]{1,8}", macro):
            raise UserError(
                f"space.args.macro must be one to eight digits from 1 to 4, as in '41414', got "
                f"{macro!r}"
            )
        height, width, features = (int(size) for size in input_shape)
        halvings = stem_halvings + sum(digit in _HALVES for digit in macro)
        if min(height, width) < 2**halvings:
            raise UserError(
                f"images of {height}x{width} cannot be halved {halvings} times; lower "
                f"space.args.stem_halvings, or the digits 3 and 4 of space.args.macro"
            )
        self.input_shape, self.num_outputs = (height, width, features), int(num_outputs)
        self.channels, self.macro, self.stem_halvings = channels, macro, stem_halvings
        self.args = {"channels": channels, "macro": macro, "stem_halvings": stem_halvings}

    def layout(self) -> list[tuple[tuple[int, int, int], int, int]]:
        """Returns the shape `(H, W, C)` of each cell's input, its channels and its stride."""
        height, width = (-(-size // 2**self.stem_halvings) for size in self.input_shape[:2])
        shape, cells = (height, width, self.channels), []
        for digit in self.macro:
            for number in range(_CELLS_PER_MODULE):
                changes = digit if number == 0 else ""
                features = shape[2] * (2 if changes and changes in _WIDENS else 1)
                stride = 2 if changes and changes in _HALVES else 1
                cells.append((shape, features, stride))
                shape = (-(-shape[0] // stride), -(-shape[1] // stride), features)
        return cells

    @property
    def _end(self) -> tuple[int, int, int]:
        shape, features, stride = self.layout()[-1]
        return -(-shape[0] // stride), -(-shape[1] // stride), features

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        norm = supernet_norm(axis_name)

        def body(rngs):
            cells: list[nnx.Module] = []
            for shape, features, stride, count in self._runs():
                if stride > 1 or features != shape[2]:
                    cells.append(
                        EnteringCell(
                            shape[2], features, stride, norm, rngs, rematerialise=rematerialise
                        )
                    )
                else:
                    cells.append(
                        MixedCells(
                            count, features, EDGES, _CANDIDATES, rngs,
                            axis_name=axis_name, rematerialise=rematerialise,
                        )
                    )  # fmt: skip
            return cells

        return _Skeleton(self, body, norm, rngs)

    def _runs(self):
        """Returns the cells with how many equal ones follow one another; those that enter alone."""
        runs: list[tuple[Any, int, int, int]] = []
        for shape, features, stride in self.layout():
            keeps = stride == 1 and features == shape[2]
            if keeps and runs and runs[-1][:3] == (shape, features, 1):
                runs[-1] = (*runs[-1][:3], runs[-1][3] + 1)
            else:
                runs.append((shape, features, stride, 1))
        return runs

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        architecture, norm = self.check(architecture), network_norm(axis_name)
        runs = running_edges(architecture[None])[0]

        def body(rngs):
            return [
                FixedCell(shape[2], features, stride, architecture, runs, norm, rngs)
                for shape, features, stride in self.layout()
            ]

        return _Skeleton(self, body, norm, rngs)

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        architecture = self.check(architecture)
        target, source = cast(_Skeleton, network), cast(_Skeleton, supernet)
        for name in ("stem", "classifier"):
            nnx.update(getattr(target, name), nnx.state(getattr(source, name), nnx.Param))
        cells = iter(target.cells)
        for run, (*_, count) in zip(source.cells, self._runs(), strict=True):
            for number in range(count):
                edges: Any = cast(FixedCell, next(cells)).edges
                for edge, option in enumerate(architecture):
                    if isinstance(run, EnteringCell):
                        nnx.update(edges[edge], run.graph.option_of(edge, int(option)))
                    elif _CANDIDATES[option].kind == "conv":
                        kernel = cast(MixedCells, run).kernel_of(number, edge, int(option))
                        edges[edge].conv.kernel[...] = kernel

    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table, norm = OperationTable(), network_norm()
        table.stands("stem", self.input_shape, functools.partial(self._stem, norm))
        for shape, features, stride in self.layout():
            result = (-(-shape[0] // stride), -(-shape[1] // stride), features)
            for edge, (_, source) in enumerate(EDGES):
                given, step = (shape, stride) if source == 0 else (result, 1)
                for option, name in enumerate(OPERATIONS):
                    keeps = step == 1 and given[2] == features
                    if name == "none" or (name == "skip_connect" and keeps):
                        continue
                    build = functools.partial(edge_operation, name, given[2], features, step, norm)
                    label = f"{name} to {features} stride {step}"
                    table.stands(label, given, build, ((edge, option),))
        head = functools.partial(Classifier, self._end[2], self.num_outputs)
        table.stands("head", self._end, head)
        return table.result()

    def _stem(self, norm: Norm, rngs: nnx.Rngs) -> Stem:
        return Stem(self.input_shape[2], self.channels, self.stem_halvings, norm, rngs)

    def to_string(self, architecture: np.ndarray) -> str:
        digits = "".join(map(str, self.check(architecture)))
        return f"{self.channels}-{self.macro}-{digits[0]}_{digits[1:3]}_{digits[3:]}"

    def from_string(self, text: str) -> np.ndarray:
        found = re.fullmatch(r"(\d+)-(\d+)-([0-3])_([0-3]{2})_([0-3]{3})", text)
        if found is None or (found[1], found[2]) != (str(self.channels), self.macro):
            raise UserError(
                f"{text!r} is no cell of {self.name} here; the form is "
                f"'{self.channels}-{self.macro}-1_02_333', with digits from 0 to 3 for "
                f"{', '.join(OPERATIONS)}"
            )
        digits = found[3] + found[4] + found[5]
        names = zip(self.decisions, digits, strict=True)
        return self.from_names({decision.name: OPERATIONS[int(digit)] for decision, digit in names})


class _Skeleton(nnx.Module):
    """Stem, cells, classifier."""

    def __init__(self, space: TransNASCell, body, norm: Norm, rngs: nnx.Rngs):
        self.stem = space._stem(norm, rngs)
        self.cells = nnx.List(body(rngs))
        self.classifier = Classifier(space._end[2], space.num_outputs, rngs)

    def __call__(self, x: jax.Array, *gates: Gates) -> jax.Array:
        x = self.stem(x)
        for cell in self.cells:
            x = cell(x, *gates)
        return self.classifier(x)
