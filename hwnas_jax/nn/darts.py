"""Cells of DARTS: two inputs, and inner nodes that sum their edges and are joined at the end.

Legend: `B` batch, `C` channels, `J` inner nodes, `E` edges of the full graph, `O` operations.

References: Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.graph import MixedEdge, MixedGraph
from hwnas_jax.nn.kernels.convolution import matmul
from hwnas_jax.nn.kernels.pooling import Pool3x3
from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.separable import DilConv, FactorisedReduction, SepConv
from hwnas_jax.nn.tally import relu

OPERATIONS = (
    "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5",
    "dil_conv_3x3", "dil_conv_5x5",
)  # fmt: skip
INPUTS, NODES = 2, 4
_AUXILIARY = (128, 768)

_init = nnx.initializers.he_uniform()


@dataclasses.dataclass(frozen=True)
class CellShape:
    """The shapes of a cell's inputs and output.

    Attributes:
      reduces: whether the cell halves the image.
      before: shape `(H, W, C)` of the output of the cell before the last.
      last: shape of the output of the last cell.
      features: channels of each inner node.
      flat: whether the network reads sequences, so that kernels are one pixel high.
    """

    reduces: bool
    before: tuple[int, int, int]
    last: tuple[int, int, int]
    features: int
    flat: bool = False

    @property
    def stride(self) -> int:
        """The stride of the edges that leave an input."""
        return 2 if self.reduces else 1

    @property
    def inner(self) -> tuple[int, int, int]:
        """The shape of the inputs once they have one size and width."""
        return (*self.last[:2], self.features)

    @property
    def result(self) -> tuple[int, int, int]:
        """The shape of the output."""
        height, width = (-(-size // self.stride) for size in self.last[:2])
        return height, width, NODES * self.features


def cell_operation(
    name: str, features: int, stride: int, norm: Norm, rngs: nnx.Rngs, *, flat: bool = False
) -> nnx.Module:
    """Builds one of `OPERATIONS`, on `features` channels; `flat` is that of `CellShape`."""

    def kernel(size):
        return (1 if flat else int(size[0])), int(size[0])

    match name.split("_"):
        case ["max" | "avg" as kind, *_]:
            return Pool3x3(kind, stride)
        case ["skip", _] if stride == 1:
            return ops.Identity()
        case ["skip", _]:
            return FactorisedReduction(features, features, norm, rngs)
        case ["sep", _, size]:
            return SepConv(features, features, kernel(size), norm, rngs, stride=stride)
        case ["dil", _, size]:
            return DilConv(features, features, kernel(size), norm, rngs, stride=stride)
    raise ValueError(f"operation must be one of {OPERATIONS}, got {name!r}")


def enter(given: tuple[int, int, int], shape: CellShape, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
    """Builds the operation that brings an input of shape `given` to the size of a cell."""
    if given[:2] != shape.last[:2]:
        return FactorisedReduction(given[2], shape.features, norm, rngs)
    return ops.ReLUConvNorm(given[2], shape.features, 1, norm, rngs)


class SupernetCell(nnx.Module):
    """A cell with all operations on every edge."""

    def __init__(self, shape: CellShape, norm: Norm, rngs: nnx.Rngs, *, partial: int = 1):
        self.reduces = shape.reduces
        self.before = enter(shape.before, shape, norm, rngs)
        self.last = enter(shape.last, shape, norm, rngs)

        def edge(stride):
            def build(rngs):
                options = [
                    cell_operation(
                        name, shape.features // partial, stride, norm, rngs, flat=shape.flat
                    )
                    for name in OPERATIONS
                ]
                return MixedEdge(options, stride=stride, partial=partial)

            return build

        self.graph = MixedGraph(INPUTS, NODES, edge(shape.stride), edge(1), rngs)

    def mixed(
        self, before: jax.Array, last: jax.Array, weight: jax.Array, factor: jax.Array
    ) -> jax.Array:
        """Runs all operations on all edges.

        Args:
          before: output of the cell before the last, `[B, H, W, C]`.
          last: output of the last cell, `[B, H, W, C]`.
          weight: `float32[E, O]`, on the output of each operation.
          factor: `float32[E]`, on the output of each edge.
        """
        inputs = [self.before(before), self.last(last)]
        return jnp.concatenate(self.graph.mixed(inputs, weight, factor), -1)

    def drawn(self, before: jax.Array, last: jax.Array, *of_edges: jax.Array) -> jax.Array:
        """Runs two edges into each inner node; `of_edges` are those of `MixedGraph.drawn`."""
        inputs = [self.before(before), self.last(last)]
        targets = [node for node in range(INPUTS, INPUTS + NODES) for _ in range(2)]
        return jnp.concatenate(self.graph.drawn(inputs, targets, *of_edges), -1)


class FixedCell(nnx.Module):
    """A cell that holds only its chosen edges.

    Attributes:
      edges: `(target, source)` of each edge.
    """

    def __init__(
        self,
        shape: CellShape,
        edges: Sequence[tuple[int, int]],
        names: Sequence[str],
        norm: Norm,
        rngs: nnx.Rngs,
    ):
        self.before = enter(shape.before, shape, norm, rngs)
        self.last = enter(shape.last, shape, norm, rngs)
        self.edges = tuple(edges)
        self.operations = nnx.List(
            cell_operation(
                name,
                shape.features,
                shape.stride if source < INPUTS else 1,
                norm,
                rngs,
                flat=shape.flat,
            )
            for (_, source), name in zip(edges, names, strict=True)
        )

    def __call__(
        self,
        before: jax.Array,
        last: jax.Array,
        keys: jax.Array | None = None,
        rate: jax.Array | float = 0.0,
    ) -> jax.Array:
        """Runs the cell.

        Args:
          before: output of the cell before the last, `[B, H, W, C]`.
          last: output of the last cell, `[B, H, W, C]`.
          keys: random keys `[B]` for drop-path; None leaves drop-path out.
          rate: share of the images for which an edge is dropped.
        """
        values = [self.before(before), self.last(last)]
        kept = None if keys is None else _kept(keys, rate, len(self.edges))
        for node in range(INPUTS, INPUTS + NODES):
            arriving = []
            for number, (target, source) in enumerate(self.edges):
                if target != node:
                    continue
                operation = self.operations[number]
                value = operation(values[source])
                if kept is not None and not isinstance(operation, ops.Identity):
                    value = value * kept[:, number, None, None, None].astype(value.dtype)
                arriving.append(value)
            values.append(functools.reduce(jnp.add, arriving))
        return jnp.concatenate(values[INPUTS:], -1)


def _kept(keys, rate, count):
    """Returns the factor on each edge for each image, `[B, E]`: zero, or one that keeps the mean.

    References: Larsson et al., "FractalNet", 2017 (drop-path).
    """
    draws = jax.vmap(lambda key: jax.random.uniform(key, (count,)))(keys)
    return (draws >= rate) / (1.0 - rate)


class AuxiliaryHead(nnx.Module):
    """A second classifier in the middle of a network, whose loss counts only in training.

    It averages four overlapping windows, each of which spans five eighths of the image's height and
    width. On 8x8 pixels these are the 5x5 windows, three apart, of the paper's code. Of sequences,
    which are one pixel high, it averages two windows.

    References: Szegedy et al., "Going Deeper with Convolutions", 2015.
    """

    def __init__(
        self, features: int, num_outputs: int, norm: Norm, rngs: nnx.Rngs, *, flat: bool = False
    ):
        """Draws the weights; `flat` is that of `CellShape`."""
        narrow, wide = _AUXILIARY
        self.narrow = ops.Conv(features, narrow, 1, rngs)
        self.narrow_norm = norm(narrow, rngs)
        windows = (1 if flat else 2, 2)
        self.kernel = nnx.Param(_init(rngs.params(), (*windows, narrow, wide), jnp.float32))
        self.wide_norm = norm(wide, rngs)
        self.linear = nnx.Linear(wide, num_outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = relu(x)
        for axis, count in zip((1, 2), self.kernel.shape[:2], strict=True):
            size = x.shape[axis]
            window = math.ceil(size * 5 / 8)
            ends = [jax.lax.slice_in_dim(x, start, start + window, axis=axis)
                    for start in (0, size - window)[:count]]  # fmt: skip
            x = jnp.concatenate([end.mean(axis, keepdims=True) for end in ends], axis)
        x = relu(self.narrow_norm(self.narrow(x)))
        kernel = self.kernel[...].astype(x.dtype)
        joined = x.reshape(x.shape[0], 1, 1, -1)
        x = matmul(joined, kernel.reshape(joined.shape[-1], -1))
        return self.linear(relu(self.wide_norm(x))[:, 0, 0])
