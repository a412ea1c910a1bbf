"""Cells of binary convolutions: a graph of nodes whose every edge holds all operations.

Legend: `B` batch, `C` channels, `E` edges, `O` operations, `N` cells, `T` edges that leave a node.

The edges that leave a node read the same signs, and a convolution is linear in its kernel. So the
binary kernels of all sizes are mixed first, and those of all leaving edges are put side by side.
One convolution a node is left, whatever the number of options.

With `partial` channels, only the first `C / partial` channels of a node go through the operations
of an edge. The others pass by, and then all are shuffled.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn import tally
from hwnas_jax.nn.cell_operations import CellOperation
from hwnas_jax.nn.drawn import run_drawn
from hwnas_jax.nn.fused_cell import (
    SIZES,
    WEIGHTLESS,
    convolution_state,
    drawn_branch,
    run_cells,
)
from hwnas_jax.nn.kernels.activation import relu
from hwnas_jax.nn.kernels.convolution import avg_pool_3x3, conv2d, pad_kernel
from hwnas_jax.nn.kernels.mixed_cell import Form, columns
from hwnas_jax.nn.mbconv import shuffle
from hwnas_jax.nn.normalisation import Norm, supernet_norm
from hwnas_jax.nn.operations import Conv
from hwnas_jax.nn.quantise import binarise_activations
from hwnas_jax.nn.quantised import BinaryConv, FewBits, binary_kernel, shrink_and_widen
from hwnas_jax.relax.base import Gates

_init = nnx.initializers.he_uniform(batch_axis=(0, 1))


def _record(name, conv):
    """Returns the record of a convolution that a class, or a partial of one, builds by its size."""

    @functools.cache
    def record(kernel: int, /) -> CellOperation:
        def build(inputs, outputs, stride, norm, rngs):
            return conv(inputs, outputs, kernel, norm, rngs, stride=stride)

        return CellOperation(f"{name}_{kernel}x{kernel}", build)

    return record


class FloatConv(nnx.Module):
    """Normalisation, ReLU and a convolution: the counterpart of `BinaryConv` at full precision."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, norm: Norm, rngs: nnx.Rngs, *,
        stride: int = 1,
    ):  # fmt: skip
        self.norm = norm(inputs, rngs)
        self.conv = Conv(inputs, outputs, kernel, rngs, stride)

    @property
    def kernel(self) -> nnx.Param:
        """`float32[k, k, I, O]`."""
        return self.conv.kernel

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv(tally.relu(self.norm(x)))

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width, features = input_shape
        return self.conv.macs((height, width, features))


class Reduction(nnx.Module):
    """Halves the image and changes the channels: two 3x3 convolutions beside a pooled input."""

    def __init__(
        self, inputs: int, outputs: int, norm: Norm, rngs: nnx.Rngs, *,
        kind: Callable[..., nnx.Module] = FloatConv,
    ):  # fmt: skip
        """Draws the weights of convolutions of a kind, `FloatConv` or `BinaryConv`."""
        self.outputs = outputs
        self.first: Any = kind(inputs, outputs, 3, norm, rngs, stride=2)
        self.second: Any = kind(outputs, outputs, 3, norm, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return shrink_and_widen(x, 2, self.outputs) + self.second(self.first(x))

    def _between(self, input_shape):
        """Returns the shape of one image between the two convolutions."""
        height, width = (-(-size // 2) for size in input_shape[:2])
        return height, width, self.outputs

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        return self.first.macs(input_shape) + self.second.macs(self._between(input_shape))


class BinaryReduction(Reduction, FewBits):
    """A reduction of binary convolutions."""

    def bit_operations(self, input_shape: tuple[int, ...]) -> int:
        """Returns products of single bits for one image of `input_shape` `(H, W, C)`."""
        first, second = self.first.bit_operations, self.second.bit_operations
        return first(input_shape) + second(self._between(input_shape))

    def size_bits(self) -> int:
        """Returns the bits that are stored."""
        return self.first.size_bits() + self.second.size_bits()


binary_conv = _record("bin_conv", BinaryConv)
"""`binary_conv(3)` is the record of a binary 3x3 convolution, `bin_conv_3x3`."""

projected_conv = _record("bin_conv", functools.partial(BinaryConv, projected=True))
"""The same with learned projections."""

float_conv = _record("conv", FloatConv)
"""The same at full precision, `conv_3x3`."""


def record_of(*, binary: bool, projected: bool) -> Callable[[int], CellOperation]:
    """Returns which of the three builds the records of such cells."""
    if not binary:
        return float_conv
    return projected_conv if projected else binary_conv


def binary_forms(*, binary: bool, projected: bool) -> dict[CellOperation, Form]:
    """Returns how `BinaryCells` of these arguments compute each operation that they know."""
    record = record_of(binary=binary, projected=projected)
    return WEIGHTLESS | {record(size): Form("conv", size) for size in SIZES}


class BinaryCells(nnx.Module):
    """Cells in sequence, equal in shape: `([B, H, W, C], Gates) -> [B, H, W, C]`.

    Node zero is a cell's input and the last node its output; every other node sums its edges.

    Attributes:
      kernels: by size of convolution, `float32[N, E, k, k, S, S]` with `S = C / partial`.
      projections: with `projected`, by size of convolution, `float32[N, E, k, k, 1, 1]`.
      stack_axes: axes of `N` and `E`, as `hwnas_jax.nn.weight_norms` reads them.

    References: Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient
    Architecture Search", ICLR 2020 (partial channels).
    """

    stack_axes = 2

    def __init__(
        self,
        count: int,
        features: int,
        edges: Sequence[tuple[int, int]],
        forms: Sequence[Form],
        rngs: nnx.Rngs,
        *,
        binary: bool = True,
        projected: bool = False,
        partial: int = 1,
        axis_name: str | None = None,
        rematerialise: bool = False,
    ):
        """Draws the weights.

        Args:
          count: `N`.
          features: `C`.
          edges: `(target, source)` of each edge, sources below targets.
          forms: the operations of every edge. A convolution normalises its input, takes the signs
            and convolves them with binary weights. At least one is a convolution.
          rngs: for the initial weights.
          binary: if False, convolutions take the ReLU instead of the signs and have weights of
            full precision.
          projected: binary kernels have learned projections, see `project_weights`.
          partial: one in so many channels goes through the operations; divides `C`.
          axis_name: replica axis over which batch statistics are averaged, if any.
          rematerialise: keep only the inputs of the cells for the backward pass.
        """
        self.edges, self.forms, self.binary = tuple(edges), tuple(forms), binary
        self.axis_name, self.rematerialise = axis_name, rematerialise
        self.partial, served = partial, features // partial
        sizes = sorted({form.kernel for form in forms if form.kind == "conv"})
        shape = (count, len(edges))
        self.kernels = nnx.Dict(
            {
                str(k): nnx.Param(_init(rngs.params(), (*shape, k, k, served, served), jnp.float32))
                for k in sizes
            }
        )
        self.projections = nnx.Dict(
            {str(k): nnx.Param(jnp.ones((*shape, k, k, 1, 1))) for k in sizes if projected}
        )

    def __call__(self, x: jax.Array, gates: Gates) -> jax.Array:
        """Runs the cells.

        Args:
          x: `[B, H, W, C]`.
          gates: `weight` is `float32[E, O]`; with `index` only the drawn operations run.
        """
        chex.assert_rank(x, 4)
        chex.assert_shape(gates.weight, (len(self.edges), len(self.forms)))
        kernels = {
            int(k): tuple(
                part[k][...].astype(x.dtype) for part in (self.kernels, self.projections) if part
            )
            for k in self.kernels
        }
        return run_cells(
            x, kernels, gates, mixed=self._mixed_cell, sampled=self._sampled_cells,
            rematerialise=self.rematerialise,
        )  # fmt: skip

    def weights_of(self, cell: int, edge: int, option: int) -> nnx.State:
        """Returns the weights of one operation, arranged as in its stand-alone module."""
        form, size = self.forms[option], str(self.forms[option].kernel)
        if form.kind != "conv":
            return nnx.State({})
        if not self.binary:
            return convolution_state(self.kernels[size][cell, edge])
        parts = {"kernel": self.kernels, "projection": self.projections}
        return nnx.State(
            {name: nnx.Param(part[size][cell, edge]) for name, part in parts.items() if part}
        )

    def _mixed_cell(self, x, kernels, gates):
        last, size = max(target for target, _ in self.edges), max(kernels)
        weight = jnp.asarray(gates.weight).astype(x.dtype)
        convolutions = columns(self.forms, "conv")
        incoming: dict[int, list[jax.Array]] = {node: [] for node in range(last + 1)}
        for node in range(last):
            whole = x if node == 0 else sum(incoming[node])
            value, passed = self._divided(whole)
            leaving = [e for e, (_, source) in enumerate(self.edges) if source == node]
            joined = [
                sum(
                    weight[e, c] * pad_kernel(self._weights([part[e] for part in kernels[k]]), size)
                    for c in convolutions
                    if (k := self.forms[c].kernel)
                )
                for e in leaving
            ]
            convolved = conv2d(self._signs(value), jnp.concatenate(joined, axis=-1))
            parts = jnp.split(convolved, len(leaving), axis=-1)
            for edge, part in zip(leaving, parts, strict=True):
                terms = [part]
                for kind, apply in (("identity", lambda v: v), ("avg_pool", avg_pool_3x3)):
                    found = columns(self.forms, kind)
                    terms += [weight[edge, c] * apply(value) for c in found]
                target, _ = self.edges[edge]
                incoming[target].append(self._joined(sum(terms), passed))
        return sum(incoming[last])

    def _sampled_cells(self, x, kernels, gates):
        """Runs the cells of `kernels`, whose two leading axes are cells and edges, in one loop."""
        factor = jnp.asarray(gates.weight)[jnp.arange(len(self.edges)), gates.index]
        count = len(jax.tree.leaves(kernels)[0])
        # Where channels pass by, no operation closes an edge.
        zeros = columns(self.forms, "zero") if self.partial == 1 else ()
        return run_drawn(
            x, gates.index,
            (kernels, jnp.broadcast_to(factor.astype(x.dtype), (count, len(factor)))),
            branches=[self._beside(drawn_branch(each, self._convolution(each)))
                      for each in self.forms],
            edges=self.edges, cut=next(iter(zeros), None),
        )  # fmt: skip

    def _beside(self, branch):
        """Returns a branch that runs on some of the channels."""
        if self.partial == 1:
            return branch

        def run(x, kernels, factor):
            value, passed = self._divided(x)
            return self._joined(branch(value, kernels, factor), passed)

        return run

    def _divided(self, x):
        """Returns the channels that go through the operations, and those that pass by."""
        served = x.shape[-1] // self.partial
        return x[..., :served], x[..., served:]

    def _joined(self, value, passed):
        if self.partial == 1:
            return value
        return shuffle(jnp.concatenate([value, passed], -1), self.partial)

    def _convolution(self, form):
        def convolve(x, kernels, factor):
            return conv2d(self._signs(x), factor * self._weights(kernels[form.kernel]))

        return convolve

    def _signs(self, x):
        x = supernet_norm(self.axis_name)(x.shape[-1], None)(x)
        return binarise_activations(x) if self.binary else relu(x)

    def _weights(self, parts):
        return binary_kernel(*parts) if self.binary else parts[0]
