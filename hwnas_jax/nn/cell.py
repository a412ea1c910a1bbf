"""Cells of a supernet: a graph of nodes whose every edge holds all candidate operations.

Legend: `B` batch, `C` channels, `E` edges, `O` operations, `N` cells, `S` sizes of convolution, `T`
edges that leave a node.

The cells of a stage are stacked and scanned: one cell is compiled for all of them. It mixes all
operations at once (`mix_cell`). Drawn operations run in one loop over the edges of all cells
instead (`run_drawn`).
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.kernels.activation import relu
from hwnas_jax.nn.kernels.convolution import avg_pool_3x3, conv2d
from hwnas_jax.nn.kernels.mixed_cell import Candidate, Mixture, columns, mix_cell
from hwnas_jax.nn.mixed import Branch, pad_kernel, run_drawn
from hwnas_jax.nn.normalisation import moments, scale_and_offset
from hwnas_jax.nn.platform import target_platform
from hwnas_jax.relax.base import Gates

_init = nnx.initializers.he_uniform(batch_axis=(0, 1))


class MixedCells(nnx.Module):
    """Cells in sequence, equal in shape: `([B, H, W, C], Gates) -> [B, H, W, C]`.

    Node zero is a cell's input and the last node its output; every other node sums its edges.

    Attributes:
      kernels: by size of convolution, `float32[N, E, k, k, C, C]`.
    """

    def __init__(
        self,
        count: int,
        features: int,
        edges: Sequence[tuple[int, int]],
        candidates: Sequence[Candidate],
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
          candidates: what each edge chooses from; column `o` of the gates belongs to
            `candidates[o]`.
          rngs: for the initial weights.
          axis_name: replica axis over which batch statistics are averaged, if any.
          rematerialise: keep the inputs of the cells alone and run each forward again in the
            backward pass: less memory, more time.
        """
        self.edges, self.candidates = tuple(edges), tuple(candidates)
        self.axis_name, self.rematerialise = axis_name, rematerialise
        sizes = sorted({c.kernel for c in candidates if c.kind == "conv"})
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
        chex.assert_shape(gates.weight, (len(self.edges), len(self.candidates)))
        kernels = {int(k): value[...].astype(x.dtype) for k, value in self.kernels.items()}
        return run_cells(
            x, kernels, gates, mixed=self._mixed_cell, sampled=self._sampled_cells,
            rematerialise=self.rematerialise,
        )  # fmt: skip

    def kernel_of(self, cell: int, edge: int, candidate: int) -> jax.Array:
        """Returns the weights `[k, k, C, C]` of one convolution."""
        return self.kernels[str(self.candidates[candidate].kernel)][cell, edge]

    def _mixed_cell(self, x, kernels, gates):
        mixture = Mixture(self.edges, self.candidates, self.axis_name)
        joined = [self._joined(kernels, leaving) for leaving in mixture.leaving]
        return mix_cell(mixture, x, *zip(*joined, strict=True), gates.weight)

    def _joined(self, kernels, leaving):
        """Returns the convolutions of the edges that leave a node, `[k, k, C, S T C]`.

        And of the 1x1 ones those that run as products, `[C, T C]`; None for what there is not.
        """
        # Slices put side by side; indexing by a list would compile to gathers and scatters.
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
            branches=[drawn_branch(each, self._convolution(each)) for each in self.candidates],
            edges=self.edges, cut=next(iter(columns(self.candidates, "zero")), None),
        )  # fmt: skip

    def _convolution(self, candidate):
        def convolve(x, kernels, factor):
            values = conv2d(relu(x), kernels[candidate.kernel])
            scale, offset = scale_and_offset(*moments(values, self.axis_name))
            return (values * (factor * scale) + factor * offset).astype(x.dtype)

        return convolve


def run_cells(x, kernels, gates, *, mixed, sampled, rematerialise):
    """Returns `x` after all cells of `kernels`, arrays with a leading axis of cells.

    Args:
      x: `[B, H, W, C]`.
      kernels: the weights of the cells.
      gates: with `index` only the drawn operations run.
      mixed: `(x, kernels of one cell, gates)` to an array like `x`.
      sampled: likewise, with the kernels of several cells.
      rematerialise: keep the inputs of the cells alone.
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


def drawn_branch(candidate: Candidate, convolve: Branch) -> Branch:
    """Returns `(x, kernels, factor) -> factor * operation(x)`.

    Args:
      candidate: the operation.
      convolve: what is returned for a convolution.
    """
    match candidate.kind:
        case "zero":
            return lambda x, kernels, factor: jnp.zeros_like(x)
        case "identity":
            return lambda x, kernels, factor: factor.astype(x.dtype) * x
        case "avg_pool":
            # Every pass of the pooling would read the node through an index of its own.
            pool = lambda x: avg_pool_3x3(jax.lax.optimization_barrier(x))  # noqa: E731
            return lambda x, kernels, factor: factor.astype(x.dtype) * pool(x)
        case "conv":
            return convolve
    raise ValueError(f"kind must be zero, identity, avg_pool or conv, got {candidate.kind!r}")
