"""Cells of a supernet in a form written by hand for speed.

Legend: `B` batch, `C` channels, `E` edges, `O` operations, `N` cells, `S` sizes of convolution, `T`
edges that leave a node.

The cells know the operations in `FORMS` and no others; `hwnas_jax.nn.cells` chooses them where
that is enough. The cells of a stage are stacked and scanned, so that one cell is compiled for all
of them. Mixed operations run in `mix_cell`. Drawn operations run in one loop over the edges of all
cells (`run_drawn`).
"""

from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.cell_operations import (
    AVG_POOL_3X3,
    NONE,
    SKIP_CONNECT,
    CellOperation,
    relu_conv_norm,
)
from hwnas_jax.nn.drawn import Branch, run_drawn
from hwnas_jax.nn.kernels.activation import relu
from hwnas_jax.nn.kernels.convolution import avg_pool_3x3, conv2d, pad_kernel
from hwnas_jax.nn.kernels.mixed_cell import Form, Mixture, columns, mix_cell
from hwnas_jax.nn.normalisation import moments, scale_and_offset
from hwnas_jax.nn.platform import target_platform
from hwnas_jax.relax.base import Gates

SIZES = (1, 3, 5, 7)
"""Kernel sizes of the convolutions that fused cells know."""

WEIGHTLESS: dict[CellOperation, Form] = {
    NONE: Form("zero"), SKIP_CONNECT: Form("identity"), AVG_POOL_3X3: Form("avg_pool"),
}  # fmt: skip

FORMS: dict[CellOperation, Form] = WEIGHTLESS | {
    relu_conv_norm(size): Form("conv", size) for size in SIZES
}

_init = nnx.initializers.he_uniform(batch_axis=(0, 1))


class FusedCells(nnx.Module):
    """Cells in sequence, equal in shape: `([B, H, W, C], Gates) -> [B, H, W, C]`.

    Node zero is a cell's input and the last node its output; every other node sums its edges.

    Attributes:
      kernels: by size of convolution, `float32[N, E, k, k, C, C]`.
      stack_axes: axes of `N` and `E`, as `hwnas_jax.nn.weight_norms` reads them.
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
        axis_name: str | None = None,
        rematerialise: bool = False,
    ):
        """Draws the weights.

        Args:
          count: `N`.
          features: `C`.
          edges: `(target, source)` of each edge, sources below targets; row `e` of the gates
            belongs to `edges[e]`.
          forms: the operations of every edge; column `o` of the gates belongs to `forms[o]`. At
            least one is a convolution.
          rngs: for the initial weights.
          axis_name: replica axis over which batch statistics are averaged, if any.
          rematerialise: keep only the inputs of the cells, and run each cell's forward pass again
            in the backward pass. This takes less memory and more time.
        """
        self.edges, self.forms = tuple(edges), tuple(forms)
        self.axis_name, self.rematerialise = axis_name, rematerialise
        sizes = sorted({form.kernel for form in forms if form.kind == "conv"})
        self.kernels = nnx.Dict(
            {
                str(k): nnx.Param(
                    _init(rngs.params(), (count, len(edges), k, k, features, features), jnp.float32)
                )
                for k in sizes
            }
        )

    def __call__(self, x: jax.Array, gates: Gates) -> jax.Array:
        """Runs the cells.

        Args:
          x: `[B, H, W, C]`.
          gates: `weight` is `float32[E, O]`; with `index` only the drawn operations run.
        """
        chex.assert_rank(x, 4)
        chex.assert_shape(gates.weight, (len(self.edges), len(self.forms)))
        kernels = {int(k): value[...].astype(x.dtype) for k, value in self.kernels.items()}
        return run_cells(
            x, kernels, gates, mixed=self._mixed_cell, sampled=self._sampled_cells,
            rematerialise=self.rematerialise,
        )  # fmt: skip

    def weights_of(self, cell: int, edge: int, option: int) -> nnx.State:
        """Returns the weights of one operation, arranged as in its stand-alone module."""
        form = self.forms[option]
        if form.kind != "conv":
            return nnx.State({})
        return convolution_state(self.kernels[str(form.kernel)][cell, edge])

    def _mixed_cell(self, x, kernels, gates):
        mixture = Mixture(self.edges, self.forms, self.axis_name)
        joined = [self._joined(kernels, leaving) for leaving in mixture.leaving]
        return mix_cell(mixture, x, *zip(*joined, strict=True), gates.weight)

    def _joined(self, kernels, leaving):
        """Returns the kernels of the edges that leave a node, side by side.

        The first part, `[k, k, C, S T C]`, runs as convolutions. The second, `[C, T C]`, holds 1x1
        kernels that run as matrix products. A part that would be empty is None.
        """
        # Slices are put side by side. Indexing by a list would compile to gathers and scatters.
        joined = {
            k: jax.lax.concatenate([kernel[e] for e in leaving], 3) for k, kernel in kernels.items()
        }
        pointwise = joined.pop(1, None) if target_platform() == "cpu" else None
        stacked = None
        if joined:
            size = max(joined)
            stacked = jax.lax.concatenate([pad_kernel(joined[k], size) for k in sorted(joined)], 3)
        return stacked, None if pointwise is None else pointwise[0, 0]

    def _sampled_cells(self, x, kernels, gates):
        """Runs the cells of `kernels`, `[N, E, k, k, C, C]`, in one loop over all edges."""
        factor = gates.weight[jnp.arange(len(self.edges)), gates.index]
        count = len(next(iter(kernels.values())))
        return run_drawn(
            x, gates.index, (kernels, jnp.broadcast_to(factor, (count, len(factor)))),
            branches=[drawn_branch(each, self._convolution(each)) for each in self.forms],
            edges=self.edges, cut=next(iter(columns(self.forms, "zero")), None),
        )  # fmt: skip

    def _convolution(self, form):
        def convolve(x, kernels, factor):
            values = conv2d(relu(x), kernels[form.kernel])
            scale, offset = scale_and_offset(*moments(values, self.axis_name))
            return (values * (factor * scale) + factor * offset).astype(x.dtype)

        return convolve


def convolution_state(kernel: Any) -> nnx.State:
    """Returns the weights of a module that keeps its kernel in a `Conv` named `conv`."""
    return nnx.State({"conv": {"kernel": nnx.Param(kernel)}})


def run_cells(x, kernels, gates, *, mixed, sampled, rematerialise):
    """Returns `x` after all cells of `kernels`, arrays with a leading axis of cells.

    Args:
      x: `[B, H, W, C]`.
      kernels: the weights of the cells.
      gates: with `index` only the drawn operations run.
      mixed: `(x, kernels of one cell, gates)` to an array like `x`.
      sampled: `(x, kernels of several cells, gates)` to an array like `x`.
      rematerialise: keep only the inputs of the cells for the backward pass.
    """
    run = mixed
    if gates.index is not None:
        run = sampled
        kernels = jax.tree.map(lambda k: k[:, None] if rematerialise else k[None], kernels)
    if rematerialise:
        run = jax.checkpoint(run)
    if len(jax.tree.leaves(kernels)[0]) == 1:
        return run(x, jax.tree.map(lambda leaf: leaf[0], kernels), gates)
    return jax.lax.scan(lambda x, own: (run(x, own, gates), None), x, kernels)[0]


def drawn_branch(form: Form, convolve: Branch) -> Branch:
    """Returns `(x, kernels, factor) -> factor * operation(x)`.

    Args:
      form: the operation.
      convolve: the branch to return if it is a convolution.
    """
    match form.kind:
        case "zero":
            return lambda x, kernels, factor: jnp.zeros_like(x)
        case "identity":
            return lambda x, kernels, factor: factor.astype(x.dtype) * x
        case "avg_pool":
            # Without the barrier every pass of the pooling would look the node up again.
            pool = lambda x: avg_pool_3x3(jax.lax.optimization_barrier(x))  # noqa: E731
            return lambda x, kernels, factor: factor.astype(x.dtype) * pool(x)
        case "conv":
            return convolve
    raise ValueError(f"kind must be zero, identity, avg_pool or conv, got {form.kind!r}")
