"""Cells of a supernet: a graph of nodes whose every edge holds all candidate operations.

Legend: `B` batch, `C` channels, `E` edges, `O` operations, `N` cells, `T` edges that leave a node.

The edges that leave one node read the same array, so their convolutions run as one over `T C`
output channels. Normalisation has no parameters here, hence is a scale and an offset per channel,
and folds into the weights that mix the operations. The cells of a stage are stacked and scanned:
one cell is compiled for all of them. Drawn operations run in one loop over the edges of all cells
instead (`run_drawn`). What is kept for the backward pass are the convolutions'
outputs and the inputs of the cells; the rest is cheaper to compute again than to store.
"""

import dataclasses
import functools
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.convolution import as_trained, avg_pool_3x3, conv2d, matmul
from hwnas_jax.nn.mixed import Branch, pad_kernel, run_drawn
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
        kernels = {int(k): value[...].astype(x.dtype) for k, value in self.kernels.items()}
        return run_cells(
            x, kernels, gates, mixed=self._mixed_cell, sampled=self._sampled_cells,
            rematerialise=self.rematerialise,
        )  # fmt: skip

    def kernel_of(self, cell: int, edge: int, candidate: int) -> jax.Array:
        """Returns the weights `[k, k, C, C]` of one convolution."""
        return self.kernels[str(self.candidates[candidate].kernel)][cell, edge]

    def _mixed_cell(self, x, kernels, gates):
        last = max(target for target, _ in self.edges)
        incoming: dict[int, list[jax.Array]] = {node: [] for node in range(last + 1)}
        for node in range(last):
            value = x if node == 0 else jax.lax.optimization_barrier(sum(incoming[node]))
            leaving = [e for e, (_, source) in enumerate(self.edges) if source == node]
            # Slices put side by side; indexing by a list would compile to gathers and scatters.
            joined = {
                k: jax.lax.concatenate([kernel[e] for e in leaving], 3)
                for k, kernel in kernels.items()
            }
            weight = jnp.stack([gates.weight[e] for e in leaving])
            for edge, output in zip(leaving, self._leave(value, joined, weight), strict=True):
                incoming[self.edges[edge][0]].append(output)
        return jax.lax.optimization_barrier(sum(incoming[last]))

    def _leave(self, x, joined, weight):
        """Returns what the `T` edges that leave a node of value `x` add to their targets.

        Args:
          x: `[B, H, W, C]`.
          joined: by size of convolution, the kernels of the edges side by side, `[k, k, C, T C]`.
          weight: `float32[T, O]`.
        """
        pointwise = joined.pop(1, None) if target_platform() == "cpu" else None
        stacked = None
        if joined:
            size = max(joined)
            stacked = jax.lax.concatenate([pad_kernel(joined[k], size) for k in sorted(joined)], 3)
        return _mix(_Mixture(self.candidates, self.axis_name), x, stacked, pointwise, weight)

    def _sampled_cells(self, x, kernels, gates):
        """Runs the cells of `kernels`, `[N, E, k, k, C, C]`, in one loop over all edges."""
        factor = gates.weight[jnp.arange(len(self.edges)), gates.index]
        count = len(next(iter(kernels.values())))
        return run_drawn(
            x, gates.index, (kernels, jnp.broadcast_to(factor, (count, len(factor)))),
            branches=[drawn_branch(each, self._convolution(each)) for each in self.candidates],
            edges=self.edges, cut=next(iter(_columns(self.candidates, "zero")), None),
        )  # fmt: skip

    def _convolution(self, candidate):
        def convolve(x, kernels, factor):
            values = conv2d(jax.nn.relu(x), kernels[candidate.kernel])
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


def _columns(candidates, kind):
    return [i for i, c in enumerate(candidates) if c.kind == kind]


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


@dataclasses.dataclass(frozen=True)
class _Mixture:
    """All operations of the `T` edges that leave a node, in steps.

    Of the `S` sizes of convolution the smallest comes first everywhere, its edges side by side.

    Legend: `x` is `[B, H, W, C]`; `pointwise` `[1, 1, C, T C]`, the 1x1 convolutions where they
    run as products, or None; `kernel` `[k, k, C, S' T C]`, the others, or None; `convolved`
    `[B, H, W, S' T C]` or None; `weight` `float32[T, O]`.
    """

    candidates: tuple[Candidate, ...]
    axis_name: str | None

    def convolve(self, x, kernel):
        """Returns `convolved`."""
        return None if kernel is None else conv2d(jax.nn.relu(x), kernel)

    def statistics(self, x, convolved, pointwise):
        """Returns mean and mean square of all convolutions' outputs, `float32[2, S T C]`."""
        parts = []
        if pointwise is not None:
            parts.append(_moments_of_product(jax.nn.relu(x), pointwise[0, 0], self.axis_name))
        if convolved is not None:
            parts.append(moments(convolved, self.axis_name))
        return jnp.concatenate([jnp.stack(part) for part in parts], -1)

    def finish(self, x, convolved, pointwise, weight, statistics):
        """Returns what each edge adds to its target, `T` times an array like `x`."""
        edges, features = len(weight), x.shape[-1]
        terms: list[list[jax.Array]] = [[] for _ in range(edges)]
        for kind, apply in (("identity", lambda v: v), ("avg_pool", avg_pool_3x3)):
            for column in _columns(self.candidates, kind):
                value = apply(x)
                for edge in range(edges):
                    terms[edge].append(weight[edge, column].astype(x.dtype) * value)

        columns = sorted(_columns(self.candidates, "conv"), key=lambda c: self.candidates[c].kernel)
        factor = jnp.repeat(jnp.concatenate([weight[:, c] for c in columns]), features)
        scale, offset = (part * factor for part in scale_and_offset(*statistics))

        def share_out(values):
            count = values.shape[-1] // features
            for i, part in enumerate(jax.lax.split(values, [features] * count, axis=-1)):
                terms[i % edges].append(part)

        if pointwise is not None:
            # A product is cheap enough to fold the scale into its kernel, as the moments of its
            # output are known from those of its input.
            width = pointwise.shape[-1]
            kernel = (pointwise[0, 0] * scale[:width]).astype(x.dtype)
            share_out(matmul(jax.nn.relu(x), kernel) + offset[:width].astype(x.dtype))
            scale, offset = scale[width:], offset[width:]
        if convolved is not None:
            share_out((convolved * scale + offset).astype(x.dtype))
        return [sum(each) for each in terms]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mix(mixture, x, kernel, pointwise, weight):
    """Returns what the edges that leave a node add to their targets.

    Kept for the backward pass are the inputs, the convolutions and their statistics; what else a
    gradient needs is cheaper to compute again than to store. Forward and backward pass are jitted:
    both halves of a step, and every pass over them, trace each shape once.
    """
    return _run_mixture(mixture, False, x, kernel, pointwise, weight)[0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run_mixture(mixture, is_trained, x, kernel, pointwise, weight):
    convolve = as_trained(mixture.convolve) if is_trained else mixture.convolve
    convolved = convolve(x, kernel)
    statistics = mixture.statistics(x, convolved, pointwise)
    return mixture.finish(x, convolved, pointwise, weight, statistics), convolved, statistics


def _mix_forward(mixture, x, kernel, pointwise, weight):
    outputs, *kept = _run_mixture(mixture, True, x, kernel, pointwise, weight)
    return outputs, (x, kernel, pointwise, weight, *kept)


@functools.partial(jax.jit, static_argnums=0)
def _mix_backward(mixture, residuals, gradient):
    x, kernel, pointwise, weight, convolved, statistics = residuals
    pull_back = jax.vjp(mixture.finish, x, convolved, pointwise, weight, statistics)[1]
    *gradients, weight_gradient, statistics_gradient = pull_back(gradient)
    pull_back = jax.vjp(mixture.statistics, x, convolved, pointwise)[1]
    x_gradient, convolved_gradient, pointwise_gradient = jax.tree.map(
        jax.lax.add, tuple(gradients), pull_back(statistics_gradient)
    )
    through, kernel_gradient = jax.vjp(mixture.convolve, x, kernel)[1](convolved_gradient)
    return x_gradient + through, kernel_gradient, pointwise_gradient, weight_gradient


_mix.defvjp(_mix_forward, _mix_backward)


def _moments_of_product(x, kernel, axis_name):
    """Returns mean and mean square `float32[O]` of `x @ kernel` without forming it."""
    flat = x.reshape(-1, x.shape[-1]).astype(jnp.float32)
    kernel = kernel.astype(jnp.float32)
    mean, second = flat.mean(0), jnp.einsum("ni,nj->ij", flat, flat) / len(flat)
    if axis_name is not None:
        mean, second = jax.lax.pmean((mean, second), axis_name)
    return mean @ kernel, jnp.sum(kernel * (second @ kernel), 0)
