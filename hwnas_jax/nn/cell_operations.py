"""The operations that stand on the edges of cells, each described in one place.

A cell space lists records of this kind. From them follow the names of its options, its supernet,
its networks, the weights that a network inherits, and the table of its operations. A space with an
operation of its own needs one more record and nothing else:

    CONV_5X5 = CellOperation("conv_5x5", lambda inputs, outputs, stride, norm, rngs: ReLUConvNorm(
        inputs, outputs, 5, norm, rngs, stride))

Records of operations that the fused cells know are listed there (`hwnas_jax.nn.cells`).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Literal

from flax import nnx

from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.separable import FactorisedReduction

Build = Callable[[int, int, int, Norm, nnx.Rngs], nnx.Module]


@dataclasses.dataclass(frozen=True, eq=False)
class CellOperation:
    """One operation that an edge of a cell may carry.

    A network inherits every `nnx.Param` that the supernet's module has. In a supernet the
    normalisation has none, so the network's scales and offsets keep their initial values.

    Attributes:
      name: what architectures call it.
      build: `(input channels, output channels, stride, norm, rngs) -> module`. The module maps
        `[B, H, W, C]` to `[B, H', W', C']`, says `macs(input_shape)`, and takes its normalisation
        from the factory `norm`, which differs between a supernet and a network.
      kind: "zero" cuts the edge; "identity" passes its input on where the shape stays; "fixed"
        has no weights, so that two of them on one input compute the same; "trained" has weights.
      build_flat: the same as `build` for sequences, which are images one pixel high: kernels are
        one pixel high too. None where `build` does for both.
    """

    name: str
    build: Build
    kind: Literal["zero", "identity", "fixed", "trained"] = "trained"
    build_flat: Build | None = None


def suited(
    operations: Sequence[CellOperation], input_shape: Sequence[int]
) -> tuple[CellOperation, ...]:
    """Returns the operations as they are built for inputs of a shape, `(H, W, C)`."""
    if input_shape[0] > 1:
        return tuple(operations)
    return tuple(
        each if each.build_flat is None else dataclasses.replace(each, build=each.build_flat)
        for each in operations
    )


def names(operations: Sequence[CellOperation]) -> tuple[str, ...]:
    """Returns the names of some operations."""
    return tuple(operation.name for operation in operations)


def place(operations: Sequence[CellOperation], kind: str) -> int | None:
    """Returns the place of the first operation of a kind, or None if there is none."""
    return next((i for i, each in enumerate(operations) if each.kind == kind), None)


def _zero(inputs, outputs, stride, norm, rngs):
    del inputs, norm, rngs
    return ops.Zero(outputs, stride)


def _skip(inputs, outputs, stride, norm, rngs):
    """A skip that changes the shape is a product."""
    if stride > 1:
        return FactorisedReduction(inputs, outputs, norm, rngs)
    if inputs != outputs:
        return ops.ReLUConvNorm(inputs, outputs, 1, norm, rngs)
    return ops.Identity()


def _pool(inputs, outputs, stride, norm, rngs):
    del norm, rngs
    if stride > 1 or inputs != outputs:
        raise ValueError(f"pooling keeps the shape, got {inputs} to {outputs} at stride {stride}")
    return ops.AvgPool3x3()


@functools.cache
def relu_conv_norm(kernel: int, /) -> CellOperation:
    """Returns the record of ReLU, convolution and normalisation, `nor_conv_<k>x<k>`."""

    def building(window):
        def build(inputs, outputs, stride, norm, rngs):
            return ops.ReLUConvNorm(inputs, outputs, window, norm, rngs, stride)

        return build

    return CellOperation(
        f"nor_conv_{kernel}x{kernel}", building(kernel), build_flat=building((1, kernel))
    )


NONE = CellOperation("none", _zero, "zero")
SKIP_CONNECT = CellOperation("skip_connect", _skip, "identity")
AVG_POOL_3X3 = CellOperation("avg_pool_3x3", _pool, "fixed")
