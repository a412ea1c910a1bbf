"""Cells of a supernet: a graph of nodes whose every edge holds all candidate operations.

Legend: `B` batch, `C` channels, `E` edges, `O` operations, `N` cells, `T` edges that leave a node.

The edges that leave one node read the same array, so their convolutions run as one over `T C`
output channels. Normalisation has no parameters here, hence is a scale and an offset per channel,
and folds into the weights that mix the operations. The cells of a stage are stacked and scanned:
one cell is compiled for all of them. What is kept for the backward pass are the convolutions'
outputs and the inputs of the cells; the rest is cheaper to compute again than to store.
"""

import dataclasses
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn.convolution import avg_pool_3x3, conv2d, matmul
from hwnas_jax.nn.mixed import pad_kernel, run_drawn
from hwnas_jax.nn.normalisation import moments, scale_and_offset
from hwnas_jax.nn.platform import target_platform
from hwnas_jax.relax import Gates

_init = nnx.initializers.he_uniform(batch_axis=(0, 1))


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One operation that an edge may carry, `[B, H, W, C]` to the same shape.

    Attributes:
      kind: "zero", "identity", "avg_pool" (3x3) or "conv" (ReLU, convolution, normalisation).
      kernel: size of the convolution.
    """

    kind: str
    kernel: int = 0


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
        run = self._mixed_cell if gates.index is None else self._sampled_cell
        if self.rematerialise:
            run = jax.checkpoint(run)
        kernels = {int(k): value[...].astype(x.dtype) for k, value in self.kernels.items()}
        if len(next(iter(kernels.values()))) == 1:
            return run(x, jax.tree.map(lambda leaf: leaf[0], kernels), gates)
        return jax.lax.scan(lambda x, own: (run(x, own, gates), None), x, kernels)[0]

    def kernel_of(self, cell: int, edge: int, candidate: int) -> jax.Array:
        """Returns the weights `[k, k, C, C]` of one convolution."""
        return self.kernels[str(self.candidates[candidate].kernel)][cell, edge]

    def _columns(self, kind: str) -> list[int]:
        return [i for i, c in enumerate(self.candidates) if c.kind == kind]

    def _mixed_cell(self, x, kernels, gates):
        last = max(target for target, _ in self.edges)
        incoming: dict[int, list[jax.Array]] = {node: [] for node in range(last + 1)}
        for node in range(last):
            value = x if node == 0 else jax.lax.optimization_barrier(sum(incoming[node]))
            leaving = np.array([e for e, (_, source) in enumerate(self.edges) if source == node])
            own = jax.tree.map(lambda kernel, leaving=leaving: kernel[leaving], kernels)
            outputs = self._leave(value, own, jnp.asarray(gates.weight)[leaving])
            for edge, output in zip(leaving, outputs, strict=True):
                incoming[self.edges[edge][0]].append(output)
        return jax.lax.optimization_barrier(sum(incoming[last]))

    def _leave(self, x, kernels, weight):
        """Returns what the `T` edges that leave a node of value `x` add to their targets."""
        joined = {k: _join(v) for k, v in kernels.items()}
        pointwise = joined.pop(1, None) if target_platform() == "cpu" else None
        if not joined:
            return self._finish(x, None, pointwise, weight)
        size = max(joined)
        stacked = jnp.concatenate([pad_kernel(joined[k], size) for k in sorted(joined)], -1)
        return _convolve_then(self._finish)(x, stacked, pointwise, weight)

    def _finish(self, x, convolved, pointwise, weight):
        """Mixes all operations of the edges that leave a node, given its convolutions.

        Args:
          x: `[B, H, W, C]`.
          convolved: `[B, H, W, S T C]` for `S` sizes of convolution, the smallest first, or None.
          pointwise: `[1, 1, C, T C]`, the 1x1 convolutions where they are not among `convolved`.
          weight: `float32[T, O]`.
        """
        edges, features = len(weight), x.shape[-1]
        columns = {self.candidates[c].kernel: c for c in self._columns("conv")}
        terms: list[list[jax.Array]] = [[] for _ in range(edges)]

        def add(values, column, mean, square):
            scale, offset = scale_and_offset(mean, square)
            factor = jnp.repeat(weight[:, column], features)
            mixed = (values * (scale * factor) + offset * factor).astype(x.dtype)
            for edge, part in enumerate(jax.lax.split(mixed, [features] * edges, axis=-1)):
                terms[edge].append(part)

        for kind, apply in (("identity", lambda v: v), ("avg_pool", avg_pool_3x3)):
            for column in self._columns(kind):
                value = apply(x)
                for edge in range(edges):
                    terms[edge].append(weight[edge, column].astype(x.dtype) * value)
        if pointwise is not None:
            # A product is cheap enough to fold the scale into its kernel, once the moments of its
            # output are known from those of its input.
            rectified, kernel = jax.nn.relu(x), pointwise[0, 0]
            scale, offset = scale_and_offset(
                *_moments_of_product(rectified, kernel, self.axis_name)
            )
            factor = jnp.repeat(weight[:, columns.pop(1)], features)
            values = matmul(rectified, (kernel * (scale * factor)).astype(x.dtype))
            values = values + (offset * factor).astype(x.dtype)
            for edge, part in enumerate(jax.lax.split(values, [features] * edges, axis=-1)):
                terms[edge].append(part)
        if convolved is not None:
            parts = jax.lax.split(convolved, [edges * features] * len(columns), axis=-1)
            for size, part in zip(sorted(columns), parts, strict=True):
                add(part, columns[size], *moments(part, self.axis_name))
        return [sum(each) for each in terms]

    def _sampled_cell(self, x, kernels, gates):
        order = sorted(range(len(self.edges)), key=lambda edge: self.edges[edge])
        rows = jnp.array(order)
        index = jnp.asarray(gates.index)[rows]
        return run_drawn(
            x, index, (jax.tree.map(lambda k: k[rows], kernels), gates.weight[rows, index]),
            branches=[_branch(candidate, self.axis_name) for candidate in self.candidates],
            edges=[self.edges[edge] for edge in order], cut=next(iter(self._columns("zero")), None),
        )  # fmt: skip


def _branch(candidate: Candidate, axis_name: str | None):
    """Returns `(x, kernels, factor) -> factor * operation(x)`."""

    def convolve(x, kernels, factor):
        values = conv2d(jax.nn.relu(x), kernels[candidate.kernel])
        scale, offset = scale_and_offset(*moments(values, axis_name))
        return (values * (factor * scale) + factor * offset).astype(x.dtype)

    match candidate.kind:
        case "zero":
            return lambda x, kernels, factor: jnp.zeros_like(x)
        case "identity":
            return lambda x, kernels, factor: factor.astype(x.dtype) * x
        case "avg_pool":
            return lambda x, kernels, factor: factor.astype(x.dtype) * avg_pool_3x3(x)
        case "conv":
            return convolve
    raise ValueError(f"kind must be zero, identity, avg_pool or conv, got {candidate.kind!r}")


def _join(kernels):
    """Puts `T` kernels side by side: `[T, k, k, I, O]` to `[k, k, I, T O]`."""
    edges, size, _, inputs, outputs = kernels.shape
    return kernels.transpose(1, 2, 3, 0, 4).reshape(size, size, inputs, edges * outputs)


def _convolve_then(finish):
    """Returns `finish(x, conv2d(relu(x), kernel), ...)` that keeps `x` and the convolution alone.

    What `finish` needs for its gradient is cheaper to compute again than to store.
    """

    def convolve(x, kernel):
        return conv2d(jax.nn.relu(x), kernel)

    @jax.custom_vjp
    def run(x, kernel, *rest):
        return finish(x, convolve(x, kernel), *rest)

    def forward(x, kernel, *rest):
        convolved = convolve(x, kernel)
        return finish(x, convolved, *rest), (x, kernel, convolved, rest)

    def backward(residuals, gradient):
        x, kernel, convolved, rest = residuals
        x_gradient, convolved_gradient, *rest_gradient = jax.vjp(finish, x, convolved, *rest)[1](
            gradient
        )
        through, kernel_gradient = jax.vjp(convolve, x, kernel)[1](convolved_gradient)
        return x_gradient + through, kernel_gradient, *rest_gradient

    run.defvjp(forward, backward)
    return run


def _moments_of_product(x, kernel, axis_name):
    """Returns mean and mean square `float32[O]` of `x @ kernel` without forming it."""
    flat = x.reshape(-1, x.shape[-1]).astype(jnp.float32)
    kernel = kernel.astype(jnp.float32)
    mean, second = flat.mean(0), jnp.einsum("ni,nj->ij", flat, flat) / len(flat)
    if axis_name is not None:
        mean, second = jax.lax.pmean((mean, second), axis_name)
    return mean @ kernel, jnp.sum(kernel * (second @ kernel), 0)
