"""Changes the size of images: each output line is a short weighted sum of input lines.

There are only shifts and sums and no matrix product. This is cheap, and exact in reduced precision.
The gradient has the same form: each input line is a short weighted sum of output lines. The
gradient that JAX derives would scatter, which takes 30 times as long on CPU.
"""

import functools
import math
from collections.abc import Callable, Mapping

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def resize(x: jax.Array, height: int, width: int) -> jax.Array:
    """Resizes `x` (`[B, H, W, C]`) linearly; an image that shrinks is averaged.

    Returns:
      `[B, height, width, C]`.
    """
    chex.assert_rank(x, 4)
    for axis, size in ((1, height), (2, width)):
        if x.shape[axis] != size:
            x = _resize_axis(axis, x.shape[axis], size, x)
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _resize_axis(axis, source, target, x):
    return _summed(x, axis, *_taps(source, target))


_resize_axis.defvjp(
    lambda axis, source, target, x: (_resize_axis(axis, source, target, x), None),
    lambda axis, source, target, _, gradient: (
        _summed(gradient, axis, *_transposed(*_taps(source, target), source)),
    ),
)


def _summed(x, axis, lines, weights):
    """Returns lines of `x` that are sums over the taps, along an axis."""
    shape = [1, 1, 1, 1]
    shape[axis] = len(lines)
    return sum(
        jnp.take(x, lines[:, tap], axis=axis) * jnp.asarray(weights[:, tap].reshape(shape), x.dtype)
        for tap in range(lines.shape[1])
    )


def run_resized(
    run: Callable[..., jax.Array],
    x: jax.Array,
    sizes: Mapping[int, int],
    weight: jax.Array,
    index: jax.Array | None,
    *operands,
) -> jax.Array:
    """Runs a network on square images of several sizes and adds its outputs, or at one size alone.

    Args:
      run: `(x, *operands) -> outputs`, of one shape whatever the size of the images. It closes over
        no traced value.
      x: `[B, H, W, C]`.
      sizes: the sizes by their option. With `index` they are options 0, 1, ...
      weight: `float32[K]`, the factor on the outputs at each size.
      index: `int32[]`, the drawn size, or None to run all.
      *operands: further arguments of `run`.
    """
    if index is None:
        outputs = [weight[i] * run(resize(x, n, n), *operands) for i, n in sizes.items()]
        return jnp.stack(outputs).sum(0)
    branches = [
        jax.checkpoint(lambda x, *operands, n=n: run(resize(x, n, n), *operands))
        for n in sizes.values()
    ]
    return weight[index] * jax.lax.switch(index, branches, x, *operands)


def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the input lines that each output line reads and their weights, `[target, taps]`."""
    scale = source / target
    reach = max(scale, 1.0)
    centre = (np.arange(target) + 0.5) * scale - 0.5
    first = np.ceil(centre - reach).astype(int)
    lines = first[:, None] + np.arange(math.floor(2 * reach) + 1)
    weights = np.maximum(0.0, 1.0 - np.abs(lines - centre[:, None]) / reach)
    weights *= (lines >= 0) & (lines < source)
    weights /= weights.sum(1, keepdims=True)
    return np.clip(lines, 0, source - 1), weights


def _transposed(lines, weights, source):
    """Returns the output lines that read each input line and their weights, `[source, taps]`."""
    reads: list[list[tuple[int, float]]] = [[] for _ in range(source)]
    for target, row in enumerate(zip(lines, weights, strict=True)):
        for line, weight in zip(*row, strict=True):
            if weight:
                reads[line].append((target, weight))
    readers, shares = np.zeros((2, source, max(map(len, reads))))
    for line, read in enumerate(reads):
        if read:
            readers[line, : len(read)], shares[line, : len(read)] = zip(*read, strict=True)
    return readers.astype(int), shares


class Resize(nnx.Module):
    """Resizes images to a height and width."""

    def __init__(self, height: int, width: int):
        self.height, self.width = height, width

    def __call__(self, x: jax.Array) -> jax.Array:
        return resize(x, self.height, self.width)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns 0: like pooling, resizing is not counted."""
        del input_shape
        return 0
