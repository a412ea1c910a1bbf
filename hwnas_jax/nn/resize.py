"""Changes the size of images, each output a short weighted sum of input lines.

Plain shifts and sums, without a matrix product: cheap, and exact in reduced precision too.
"""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def resize(x: jax.Array, height: int, width: int) -> jax.Array:
    """Resizes `x` (`[B, H, W, C]`) linearly, averaging as far as the image shrinks.

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


def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns which input lines each output line reads, and by what weight, `[target, taps]`."""
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
        """Returns 0: as pooling, it is not counted."""
        del input_shape
        return 0
