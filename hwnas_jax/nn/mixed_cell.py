"""A cell whose edges mix all their candidate operations, its gradients written by hand.

Legend: `B` batch, `C` channels, `E` edges, `O` operations, `T` edges that leave a node, `S` sizes
of convolution that run as such (1x1 ones are products on CPU).

The time goes into passes over the nodes, so there are as few as can be. The edges that leave one
node read the same array: their convolutions run as one over `S T C` output channels, smallest size
first, edges side by side. Normalisation has no parameters here, hence is a scale and an offset per
channel, and folds into the weights that mix the operations. Whatever arrives at a node is added up
in one pass, and pooled once, as pooling is linear; on the way back likewise. Kept for the backward
pass are the nodes, the convolutions' outputs and what normalises them; the rest is cheaper to
compute again than to store.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from hwnas_jax.nn.activation import relu, where_positive
from hwnas_jax.nn.convolution import as_trained, avg_pool_3x3, conv2d, matmul
from hwnas_jax.nn.normalisation import moments, scale_and_offset


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One operation that an edge may carry, `[B, H, W, C]` to the same shape.

    Attributes:
      kind: "zero", "identity", "avg_pool" (3x3) or "conv" (ReLU, convolution, normalisation).
      kernel: size of the convolution.
    """

    kind: str
    kernel: int = 0


def columns(candidates: tuple[Candidate, ...], kind: str) -> list[int]:
    """Returns the places of the candidates of one kind, convolutions by their size."""
    found = [i for i, c in enumerate(candidates) if c.kind == kind]
    return sorted(found, key=lambda i: candidates[i].kernel)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The graph of a cell and what its edges mix.

    Attributes:
      edges: `(target, source)` of each edge.
      candidates: what every edge mixes.
      axis_name: replica axis over which batch statistics are averaged, if any.
    """

    edges: tuple[tuple[int, int], ...]
    candidates: tuple[Candidate, ...]
    axis_name: str | None

    @property
    def leaving(self) -> list[list[int]]:
        """The edges that leave each node but the last."""
        last = max(target for target, _ in self.edges)
        return [[e for e, (_, s) in enumerate(self.edges) if s == node] for node in range(last)]

    def average(self, statistics):
        """Returns statistics of this replica's images averaged over the replicas."""
        if self.axis_name is None:
            return statistics
        return jax.lax.pmean(statistics, self.axis_name)

    @functools.partial(jax.jit, static_argnums=0)
    def coefficients(self, statistics, pointwise, weight):
        """Returns what mixes the convolutions that leave a node; jitted, to be traced once.

        Args:
          statistics: mean and mean square of the convolutions' outputs, `float32[S T C]` each,
            mean `float32[C]` and second moment `float32[C, C]` of their input, or None for either
            pair.
          pointwise: `[C, T C]`, the 1x1 convolutions that run as products, or None.
          weight: `float32[T, O]`.

        Returns:
          What to multiply the convolutions' outputs with, `float32[S T C]`, and the input,
          `float32[C, T C]`, and what to add, `float32[T C]`.
        """
        of_output, of_input = statistics
        found = []
        if of_input is not None:
            # The moments of a product's output are known from those of its input.
            (mean, second), kernel = of_input, pointwise.astype(jnp.float32)
            found.append((mean @ kernel, jnp.sum(kernel * (second @ kernel), 0)))
        if of_output is not None:
            found.append(of_output)
        mean, square = (jnp.concatenate(parts) for parts in zip(*found, strict=True))
        options = columns(self.candidates, "conv")
        features = len(mean) // (len(options) * len(weight))
        factor = jnp.repeat(jnp.concatenate([weight[:, c] for c in options]), features)
        scale, offset = (part * factor for part in scale_and_offset(mean, square))
        offset = offset.reshape(len(options), -1).sum(0)
        if of_input is None:
            return scale, None, offset
        product = pointwise.astype(jnp.float32) * scale[: len(offset)]
        return scale[len(offset) :], product, offset


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def mix_cell(
    mixture: Mixture,
    x: jax.Array,
    kernels: tuple[jax.Array | None, ...],
    pointwise: tuple[jax.Array | None, ...],
    weight: jax.Array,
) -> jax.Array:
    """Runs a cell: node zero is its input, every other node sums its edges, the last is returned.

    Forward and backward pass are jitted: both halves of a step trace each shape once.

    Args:
      mixture: the graph.
      x: `[B, H, W, C]`.
      kernels: by the node they leave, `[k, k, C, S T C]`, or None.
      pointwise: by the node they leave, `[C, T C]`, or None.
      weight: `float32[E, O]`.

    Returns:
      An array like `x`.
    """
    return _run(mixture, False, x, kernels, pointwise, weight)[0][-1]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(mixture, is_trained, x, kernels, pointwise, weight):
    """Returns the nodes and, by node, its ReLU, the convolutions' outputs and statistics."""
    convolve = as_trained(conv2d) if is_trained else conv2d
    nodes, rectified, convolved, statistics = [x], [], [], []
    arriving = [[] for _ in range(len(mixture.leaving) + 1)]
    for node, leaving in enumerate(mixture.leaving):
        value = relu(nodes[node])
        output = None if kernels[node] is None else convolve(value, kernels[node])
        of_output = None if output is None else moments(output)
        of_input = None if pointwise[node] is None else _second_moments(value)
        found = mixture.average((of_output, of_input))
        scale, product, offset = mixture.coefficients(
            found, pointwise[node], _rows(weight, leaving)
        )
        multiplied = None if product is None else matmul(value, product.astype(x.dtype))
        for place, edge in enumerate(leaving):
            parts = [_part(offset, place, len(leaving), x.shape[-1], 0)]
            if product is not None:
                parts.append(_part(multiplied, place, len(leaving), x.shape[-1], 0))
            if output is not None:
                for size in range(output.shape[-1] // (len(leaving) * x.shape[-1])):
                    own = (place, len(leaving), x.shape[-1], size)
                    parts.append(_part(output, *own) * _part(scale, *own))
            arriving[mixture.edges[edge][0]].append((edge, sum(parts)))
        rectified.append(value)
        convolved.append(output)
        statistics.append(found)
        target = node + 1
        total = sum(part for _, part in arriving[target])
        for kind, apply in (("identity", lambda v: v), ("avg_pool", avg_pool_3x3)):
            for column in columns(mixture.candidates, kind):
                mixed = sum(
                    weight[edge, column] * nodes[mixture.edges[edge][1]]
                    for edge, _ in arriving[target]
                )
                total = total + apply(mixed)
        nodes.append(jax.lax.optimization_barrier(total.astype(x.dtype)))
    return nodes, rectified, convolved, statistics


def _forward(mixture, x, kernels, pointwise, weight):
    wants_weight = weight.perturbed
    kernels, pointwise = jax.tree.map(lambda leaf: leaf.value, (kernels, pointwise))
    x, weight = x.value, weight.value
    nodes, rectified, *kept = _run(mixture, True, x, kernels, pointwise, weight)
    # Where no gate wants a gradient the nodes are needed behind their ReLU alone.
    values = (nodes[:-1], None) if wants_weight else (None, rectified)
    return nodes[-1], (values, kernels, pointwise, weight, *kept)


@functools.partial(jax.jit, static_argnums=0)
def _backward(mixture, residuals, gradient):
    (nodes, rectified), kernels, pointwise, weight, convolved, statistics = residuals
    count, last = gradient.size // gradient.shape[-1], len(mixture.leaving)
    axes = tuple(range(gradient.ndim - 1))
    total = lambda v: v.astype(jnp.float32).sum(axes)  # noqa: E731
    identities, pools = (columns(mixture.candidates, kind) for kind in ("identity", "avg_pool"))
    gradients, pooled, sums = ([None] * (last + 1) for _ in range(3))
    kernel_gradients, pointwise_gradients = list(kernels), list(pointwise)
    weight_gradients = [None] * len(mixture.edges)

    def arrived(node, value):
        value = jax.lax.optimization_barrier(value)
        gradients[node], sums[node] = value, total(value)
        if pools:
            pooled[node] = jax.vjp(avg_pool_3x3, value)[1](value)[0]

    arrived(last, gradient)
    for node in reversed(range(last)):
        leaving = mixture.leaving[node]
        targets = [mixture.edges[edge][0] for edge in leaving]
        value = relu(nodes[node]) if rectified is None else rectified[node]
        # The barrier keeps one copy for all that read it, whatever shape they read.
        own = _concatenated([gradients[target] for target in targets])
        (scale, product, _), pull_back = jax.vjp(
            mixture.coefficients, statistics[node], pointwise[node], _rows(weight, leaving)
        )
        output, sizes = convolved[node], 0
        if output is not None:
            sizes = output.shape[-1] // own.shape[-1]
            repeated = own if sizes == 1 else jnp.concatenate([own] * sizes, -1)
        slopes = (
            None if output is None else total(repeated * output),
            None if product is None else _contracted(value, own),
            jnp.concatenate([sums[target] for target in targets]),
        )
        of_statistics, pointwise_gradients[node], of_weight = pull_back(slopes)
        (of_output, of_input) = _transposed(mixture.average, of_statistics)
        through = jnp.zeros((), jnp.float32)
        if output is not None:
            mean, square = (part / count for part in of_output)
            of_convolution = (repeated * scale + (mean + 2.0 * square * output)).astype(own.dtype)
            back, kernel_gradients[node] = jax.vjp(conv2d, value, kernels[node])[1](of_convolution)
            through = through + back
        if product is not None:
            mean, second = (part / count for part in of_input)
            through = through + own @ product.T.astype(own.dtype) + mean
            through = through + value @ (second + second.T).astype(value.dtype)
        found = where_positive(value, through)
        for edge, target in zip(leaving, targets, strict=True):
            for column in identities:
                found = found + weight[edge, column] * gradients[target]
            for column in pools:
                found = found + weight[edge, column] * pooled[target]
        arrived_value = found.astype(own.dtype)
        if nodes is not None:
            for place, (edge, target) in enumerate(zip(leaving, targets, strict=True)):
                row = of_weight[place]
                for found_columns, of_target in ((identities, gradients), (pools, pooled)):
                    for column in found_columns:
                        slope = total(nodes[node] * of_target[target]).sum()
                        row = row.at[column].add(slope)
                weight_gradients[edge] = row
        if node:
            arrived(node, arrived_value)
        else:
            gradients[0] = jax.lax.optimization_barrier(arrived_value)
    weight_gradient = None if nodes is None else jnp.stack(weight_gradients)
    return gradients[0], tuple(kernel_gradients), tuple(pointwise_gradients), weight_gradient


mix_cell.defvjp(_forward, _backward, symbolic_zeros=True)


def _rows(weight, edges):
    """Slices put side by side; indexing by a list would compile to gathers and scatters."""
    return jnp.stack([weight[edge] for edge in edges])


def _concatenated(parts):
    return jax.lax.optimization_barrier(jax.lax.concatenate(parts, parts[0].ndim - 1))


def _part(values, place, edges, features, size):
    """Returns the channels of one edge and size."""
    start = (size * edges + place) * features
    return jax.lax.slice_in_dim(values, start, start + features, axis=-1)


def _second_moments(x):
    """Returns mean `float32[C]` and second moment `float32[C, C]` of `x` (`[B, H, W, C]`)."""
    mean = x.astype(jnp.float32).mean(tuple(range(x.ndim - 1)))
    return mean, _contracted(x, x) / (x.size // x.shape[-1])


def _contracted(x, y):
    """Returns `float32[I, J]`, the sum over all pixels of `x_i y_j`."""
    flat = [v.reshape(-1, v.shape[-1]) for v in (x, y)]
    return jax.lax.dot_general(*flat, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)


def _transposed(function, gradient):
    """Returns the gradient in the input of a linear function from its shape to the same."""
    return jax.linear_transpose(function, gradient)(gradient)[0]
