"""A cell whose edges mix all their operations, with gradients written by hand.

Legend: `B` batch, `C` channels, `E` edges, `O` operations, `T` edges that leave a node, `S` sizes
of convolution that run as convolutions (on CPU, 1x1 convolutions run as matrix products).

Most of the time goes into passes over the nodes, so the cell makes as few passes as possible:

- The edges that leave one node read the same array. Their convolutions run as one convolution with
  `S T C` output channels: smallest size first, and the edges of one size side by side.
- Normalisation has no parameters here. It is a scale and an offset per channel, which are folded
  into the weights that mix the operations.
- Everything that arrives at a node is added up in one pass. Pooling is linear, so a node is pooled
  once. The backward pass does the same.

The backward pass keeps the nodes, the outputs of the convolutions and their statistics. The rest is
cheaper to compute again than to store.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hwnas_jax.nn.kernels.activation import relu, where_positive
from hwnas_jax.nn.kernels.convolution import as_trained, avg_pool_3x3, conv2d, matmul
from hwnas_jax.nn.normalisation import moments, scale_and_offset


@dataclasses.dataclass(frozen=True)
class Form:
    """How a fused cell computes one operation of an edge, `[B, H, W, C]` to the same shape.

    Attributes:
      kind: "zero", "identity", "avg_pool" (3x3) or "conv" (ReLU, convolution, normalisation).
      kernel: size of the convolution.
    """

    kind: str
    kernel: int = 0


def columns(forms: tuple[Form, ...], kind: str) -> list[int]:
    """Returns the places of the forms of one kind, convolutions by their size."""
    found = [i for i, form in enumerate(forms) if form.kind == kind]
    return sorted(found, key=lambda i: forms[i].kernel)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The graph of a cell and what its edges mix.

    Attributes:
      edges: `(target, source)` of each edge.
      forms: the operations that every edge mixes.
      axis_name: replica axis over which batch statistics are averaged, if any.
    """

    edges: tuple[tuple[int, int], ...]
    forms: tuple[Form, ...]
    axis_name: str | None

    @property
    def leaving(self) -> list[list[int]]:
        """The edges that leave each node, for all nodes but the last."""
        last = max(target for target, _ in self.edges)
        return [[e for e, (_, s) in enumerate(self.edges) if s == node] for node in range(last)]

    def average(self, statistics):
        """Returns the mean over all replicas of statistics of this replica's images."""
        if self.axis_name is None:
            return statistics
        return jax.lax.pmean(statistics, self.axis_name)

    @functools.partial(jax.jit, static_argnums=0)
    def coefficients(self, statistics, pointwise, weight):
        """Returns the coefficients that normalise and mix the convolutions that leave a node.

        The function is jitted so that it is traced once.

        Args:
          statistics: two pairs, each of which may be None. The first holds mean and mean square of
            the convolutions' outputs, `float32[S T C]` each. The second holds mean `float32[C]` and
            second moment `float32[C, C]` of their input.
          pointwise: `[C, T C]`, the 1x1 convolutions that run as products, or None.
          weight: `float32[T, O]`.

        Returns:
          The factors on the convolutions' outputs, `float32[S T C]`; the matrix to multiply the
          input with, `float32[C, T C]`; and the summand, `float32[T C]`.
        """
        of_output, of_input = statistics
        found = []
        if of_input is not None:
            # The moments of a product's output follow from the moments of its input.
            (mean, second), kernel = of_input, pointwise.astype(jnp.float32)
            found.append((mean @ kernel, jnp.sum(kernel * (second @ kernel), 0)))
        if of_output is not None:
            found.append(of_output)
        mean, square = (jnp.concatenate(parts) for parts in zip(*found, strict=True))
        options = columns(self.forms, "conv")
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

    The forward and the backward pass are jitted, so that a search step, which runs cells for the
    weights and for the architecture, traces each shape once.

    Args:
      mixture: the graph.
      x: `[B, H, W, C]`.
      kernels: for each node, the kernels of the edges that leave it, `[k, k, C, S T C]`, or None.
      pointwise: for each node, the 1x1 kernels of the edges that leave it, `[C, T C]`, or None.
      weight: `float32[E, O]`.

    Returns:
      An array like `x`.
    """
    return _run(mixture, False, x, kernels, pointwise, weight)[0][-1]


class _Source(NamedTuple):
    """A node as its leaving edges read it.

    Attributes:
      value: the node after its ReLU, `[B, H, W, C]`.
      convolved: the outputs of the convolutions, `[B, H, W, S T C]`, or None.
      statistics: the argument of `Mixture.coefficients`.
    """

    value: jax.Array
    convolved: jax.Array | None
    statistics: Any


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(mixture, is_trained, x, kernels, pointwise, weight):
    """Returns the nodes, and a `_Source` for each but the last."""
    convolve = as_trained(conv2d) if is_trained else conv2d
    nodes, sources, parts = [x], [], {}
    for node, leaving in enumerate(mixture.leaving):
        value = relu(nodes[node])
        convolved = None if kernels[node] is None else convolve(value, kernels[node])
        of_output = None if convolved is None else moments(convolved)
        of_input = None if pointwise[node] is None else _second_moments(value)
        source = _Source(value, convolved, mixture.average((of_output, of_input)))
        sources.append(source)
        parts |= _shared_out(mixture, source, pointwise[node], weight, leaving)
        nodes.append(_arrived(mixture, node + 1, nodes, parts, weight))
    return nodes, sources


def _shared_out(mixture, source, pointwise, weight, leaving):
    """Returns the parts that the convolutions bring along each edge."""
    scale, product, offset = mixture.coefficients(
        source.statistics, pointwise, _rows(weight, leaving)
    )
    wholes = [offset]
    if product is not None:
        wholes.append(matmul(source.value, product.astype(source.value.dtype)))
    if source.convolved is not None:
        wholes.append(source.convolved * scale)
    features, parts = source.value.shape[-1], {edge: [] for edge in leaving}
    for whole in wholes:
        for place in range(whole.shape[-1] // features):
            part = jax.lax.slice_in_dim(whole, place * features, (place + 1) * features, axis=-1)
            parts[leaving[place % len(leaving)]].append(part)
    return parts


def _arrived(mixture, target, nodes, parts, weight):
    """Returns the sum of all edges into a node, in one pass and with one pooling."""
    entering = [(e, source) for e, (node, source) in enumerate(mixture.edges) if node == target]
    total = sum(part for edge, _ in entering for part in parts[edge])
    for kind, apply in (("identity", lambda v: v), ("avg_pool", avg_pool_3x3)):
        for column in columns(mixture.forms, kind):
            total = total + apply(sum(weight[e, column] * nodes[source] for e, source in entering))
    return jax.lax.optimization_barrier(total.astype(nodes[0].dtype))


def _forward(mixture, x, kernels, pointwise, weight):
    wants_weight = weight.perturbed
    x, kernels, pointwise, weight = jax.tree.map(
        lambda leaf: leaf.value, (x, kernels, pointwise, weight)
    )
    nodes, sources = _run(mixture, True, x, kernels, pointwise, weight)
    # Only the gradient of the gates needs the nodes. Their ReLU is then cheap to compute again.
    kept = nodes[:-1] if wants_weight else None
    if wants_weight:
        sources = [source._replace(value=None) for source in sources]
    return nodes[-1], (kept, sources, kernels, pointwise, weight)


@functools.partial(jax.jit, static_argnums=0)
def _backward(mixture, residuals, gradient):
    nodes, sources, kernels, pointwise, weight = residuals
    rows = [None] * len(mixture.edges)
    pools = columns(mixture.forms, "avg_pool")
    # For each node: its gradient, that gradient pulled through the pooling, and its sum over all
    # pixels.
    gradients, pooled, sums = {}, {}, {}
    of_kernels, of_pointwise = [None] * len(sources), [None] * len(sources)

    def arrive(node, found):
        gradients[node] = jax.lax.optimization_barrier(found)
        sums[node] = _total(gradients[node])
        if pools:
            pooled[node] = jax.vjp(avg_pool_3x3, found)[1](gradients[node])[0]

    arrive(len(sources), gradient)
    for node, leaving in reversed(list(enumerate(mixture.leaving))):
        targets = [mixture.edges[edge][0] for edge in leaving]
        source = sources[node]
        if nodes is not None:
            source = source._replace(value=relu(nodes[node]))
        # The barrier keeps one copy for all readers, whatever shape they read it in.
        own = jax.lax.optimization_barrier(
            jax.lax.concatenate([gradients[target] for target in targets], gradient.ndim - 1)
        )
        of_sum = jnp.concatenate([sums[target] for target in targets])
        through, of_kernels[node], of_pointwise[node], of_rows = _through_convolutions(
            mixture, source, kernels[node], pointwise[node], _rows(weight, leaving), own, of_sum
        )
        found = where_positive(source.value, through)
        for kind, of_targets in (("identity", gradients), ("avg_pool", pooled)):
            for column in columns(mixture.forms, kind):
                for place, (edge, target) in enumerate(zip(leaving, targets, strict=True)):
                    found = found + weight[edge, column] * of_targets[target]
                    if nodes is not None:
                        slope = _total(nodes[node] * of_targets[target]).sum()
                        of_rows = of_rows.at[place, column].add(slope)
        for place, edge in enumerate(leaving):
            rows[edge] = of_rows[place]
        if node:
            arrive(node, found.astype(gradient.dtype))
    of_x = jax.lax.optimization_barrier(found.astype(gradient.dtype))
    of_weight = None if nodes is None else jnp.stack(rows)
    return of_x, tuple(of_kernels), tuple(of_pointwise), of_weight


mix_cell.defvjp(_forward, _backward, symbolic_zeros=True)


def _through_convolutions(mixture, source, kernel, pointwise, rows, own, of_sum):
    """Returns the gradients of a node after its ReLU, of its kernels and of its gates' rows.

    Args:
      mixture: the graph.
      source: the node as its leaving edges read it.
      kernel: `[k, k, C, S T C]` or None.
      pointwise: `[C, T C]` or None.
      rows: `float32[T, O]`.
      own: the gradients of the edges' targets side by side, `[B, H, W, T C]`.
      of_sum: their sums over all pixels, `float32[T C]`.
    """
    value, convolved, statistics = source
    count = value.size // value.shape[-1]
    (scale, product, _), pull_back = jax.vjp(mixture.coefficients, statistics, pointwise, rows)
    of_scale = of_product = of_kernel = None
    if convolved is not None:
        sizes = convolved.shape[-1] // own.shape[-1]
        of_each = own if sizes == 1 else jnp.concatenate([own] * sizes, -1)
        of_scale = _total(of_each * convolved)
    if product is not None:
        of_product = _contracted(value, own)
    of_statistics, of_pointwise, of_rows = pull_back((of_scale, of_product, of_sum))
    # Averaging over replicas is linear, so its transpose pulls the gradient back.
    of_output, of_input = jax.linear_transpose(mixture.average, of_statistics)(of_statistics)[0]
    through = jnp.zeros((), jnp.float32)
    if convolved is not None:
        mean, square = (part / count for part in of_output)
        of_convolved = of_each * scale + (mean + 2.0 * square * convolved)
        pull_back = jax.vjp(conv2d, value, kernel)[1]
        back, of_kernel = pull_back(of_convolved.astype(convolved.dtype))
        through = through + back
    if product is not None:
        mean, second = (part / count for part in of_input)
        through = through + own @ product.T.astype(own.dtype) + mean
        through = through + value @ (second + second.T).astype(value.dtype)
    return through, of_kernel, of_pointwise, of_rows


def _rows(weight, edges):
    """Returns rows put side by side; indexing by a list would compile to gathers and scatters."""
    return jnp.stack([weight[edge] for edge in edges])


def _total(x):
    """Returns the sum over all pixels, `float32[C]`."""
    return x.astype(jnp.float32).sum(tuple(range(x.ndim - 1)))


def _second_moments(x):
    """Returns mean `float32[C]` and second moment `float32[C, C]` of `x` (`[B, H, W, C]`)."""
    count = x.size // x.shape[-1]
    return _total(x) / count, _contracted(x, x) / count


def _contracted(x, y):
    """Returns `float32[I, J]`, the sum over all pixels of `x_i y_j`."""
    flat = [v.reshape(-1, v.shape[-1]) for v in (x, y)]
    return jax.lax.dot_general(*flat, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
