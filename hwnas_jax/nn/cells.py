"""Cells whose edges carry operations: a supernet's in the fastest form there is, and a network's.

Both are built from the same records (`CellOperation`). A supernet's cells are fused where one of
the hand-written forms knows all of their operations, and general (`MixedCells`) otherwise.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn import fused_cell
from hwnas_jax.nn.binary_cell import BinaryCells, binary_forms
from hwnas_jax.nn.cell_operations import CellOperation
from hwnas_jax.nn.kernels.mixed_cell import Form
from hwnas_jax.nn.mixed_path import MixedCells
from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.operations import Zero


class Fused(NamedTuple):
    """A hand-written form of cells.

    Attributes:
      forms: how it computes each operation that it knows.
      build: builds the cells, as `FusedCells` does.
    """

    forms: Mapping[CellOperation, Form]
    build: Callable[..., nnx.Module]


FUSED = (
    Fused(fused_cell.FORMS, fused_cell.FusedCells),
    *(
        Fused(
            binary_forms(binary=binary, projected=projected),
            functools.partial(BinaryCells, binary=binary, projected=projected),
        )
        for binary, projected in ((True, False), (True, True), (False, False))
    ),
)
"""The forms there are, in the order in which they are tried."""


def mixed_cells(
    count: int,
    features: int,
    edges: Sequence[tuple[int, int]],
    operations: Sequence[CellOperation],
    rngs: nnx.Rngs,
    *,
    axis_name: str | None = None,
    rematerialise: bool = False,
) -> nnx.Module:
    """Builds cells of a supernet that keep the shape, fused if that is possible.

    Whatever form is built, it is called with `([B, H, W, C], Gates)` and has
    `weights_of(cell, edge, option)`. The arguments are those of `MixedCells`.
    """
    options: dict[str, Any] = {"axis_name": axis_name, "rematerialise": rematerialise}
    for fused in FUSED:
        forms = [fused.forms.get(operation) for operation in operations]
        if None not in forms and any(form.kind == "conv" for form in forms if form):
            return fused.build(count, features, edges, forms, rngs, **options)
    return MixedCells(count, features, edges, operations, rngs, **options)


class FixedCell(nnx.Module):
    """A network's cell, with one operation on every edge: `[B, H, W, C] -> [B, H', W', C']`.

    Edges that reach no output are built, so that parameters count as published, but do not run.
    """

    def __init__(
        self,
        operations: Sequence[CellOperation],
        edges: Sequence[tuple[int, int]],
        runs: Sequence[bool],
        features: int,
        norm: Norm,
        rngs: nnx.Rngs,
        *,
        features_in: int | None = None,
        stride: int = 1,
    ):
        """Builds the cell.

        Args:
          operations: the operation of each edge.
          edges: `(target, source)` of each edge; node zero is the input and the last the output.
          runs: which edges run.
          features: channels of the output.
          norm: factory of normalisations.
          rngs: for the initial weights.
          features_in: channels of the input; `features` if left out.
          stride: of the edges that leave the input.
        """
        given = features if features_in is None else features_in
        self.pairs, self.runs = tuple(edges), tuple(bool(value) for value in runs)
        self.nothing = Zero(features, stride)
        self.edges = nnx.List(
            operation.build(given, features, stride, norm, rngs)
            if source == 0
            else operation.build(features, features, 1, norm, rngs)
            for operation, (_, source) in zip(operations, edges, strict=True)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        nodes = [x]
        for node in range(1, max(target for target, _ in self.pairs) + 1):
            arriving = [
                self.edges[edge](nodes[source])
                for edge, (target, source) in enumerate(self.pairs)
                if target == node and self.runs[edge]
            ]
            nodes.append(functools.reduce(jnp.add, arriving or [self.nothing(x)]))
        return nodes[-1]
