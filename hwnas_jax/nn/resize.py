"""Changes the size of images: each output line is a short weighted sum of input lines.

There are only shifts and sums and no matrix product. This is cheap, and exact in reduced precision.
"""

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
        if x.shape[axis] == size:
            continue
        lines, weights = _taps(x.shape[axis], size)
        shape = [1, 1, 1, 1]
        shape[axis] = size
        x = sum(
            jnp.take(x, lines[:, tap], axis=axis)
            * jnp.asarray(weights[:, tap].reshape(shape), x.dtype)
            for tap in range(lines.shape[1])
        )  # type: ignore[assignment]
    return x


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
