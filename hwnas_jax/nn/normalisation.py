"""Batch normalisation: stateless in a supernet, with running statistics in a network."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from flax import nnx

EPSILON = 1e-5

Norm = Callable[[int, nnx.Rngs], nnx.Module]


class BatchStatistics(nnx.Module):
    """Normalises by the batch at hand: no affine part, no running averages.

    Running averages have no meaning while the paths through a supernet change.
    """

    def __init__(self, *, axis_name: str | None = None):
        self.axis_name = axis_name

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns `x` (`[B, H, W, C]`) with zero mean and unit variance per channel."""
        chex.assert_rank(x, 4)
        mean, square = x.mean((0, 1, 2)), (x * x).mean((0, 1, 2))
        if self.axis_name is not None:
            mean, square = jax.lax.pmean((mean, square), self.axis_name)
        variance = jnp.maximum(square - mean * mean, 0.0)
        return (x - mean) * jax.lax.rsqrt(variance + EPSILON)


def supernet_norm(axis_name: str | None = None) -> Norm:
    """Returns the factory `(features, rngs) -> module` of normalisations in a supernet."""
    return lambda features, rngs: BatchStatistics(axis_name=axis_name)


def network_norm(axis_name: str | None = None) -> Norm:
    """Returns the factory `(features, rngs) -> module` of normalisations in a network."""
    return lambda features, rngs: nnx.BatchNorm(
        features, momentum=0.9, epsilon=EPSILON, axis_name=axis_name, rngs=rngs
    )
