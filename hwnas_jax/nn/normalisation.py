"""Batch normalisation: stateless in a supernet, with running statistics in a network."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.tally import log_deviation, note
from hwnas_jax.nn.variables import Replaced

EPSILON = 1e-5

Norm = Callable[[int, nnx.Rngs], nnx.Module]

normalises = jax.make_user_context(True)
"""`with normalises(False):` traces supernets that pass values on where they would normalise them.

Gradients have to be taken inside too: operations that are drawn are traced again for them.
"""


class BatchStatistics(nnx.Module):
    """Normalises by the statistics of the batch, without scale, offset and running averages.

    Running averages have no meaning while the paths through a supernet change.
    """

    def __init__(self, *, axis_name: str | None = None):
        self.axis_name = axis_name

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns `x` (`[B, ..., C]`) with zero mean and unit variance per channel."""
        scale, offset = scale_and_offset(*moments(x, self.axis_name))
        return (x * scale + offset).astype(x.dtype)


def moments(x: jax.Array, axis_name: str | None = None) -> tuple[jax.Array, jax.Array]:
    """Returns mean and mean square of each channel of `x` (`[B, ..., C]`), `float32[C]` each.

    With `axis_name` they are averaged over the replicas of that axis.
    """
    chex.assert_rank(x, {2, 3, 4})
    x, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
    mean, square = x.mean(axes), (x * x).mean(axes)
    return (mean, square) if axis_name is None else jax.lax.pmean((mean, square), axis_name)


def scale_and_offset(mean: jax.Array, square: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the factor and the summand that normalise values with these moments."""
    if not normalises.value:
        return jnp.ones_like(mean), jnp.zeros_like(mean)
    variance = jnp.maximum(square - mean * mean, 0.0) + EPSILON
    scale = note(log_deviation, lambda: variance, jax.lax.rsqrt(variance))
    return scale, -mean * scale


def supernet_norm(axis_name: str | None = None) -> Norm:
    """Returns the factory `(features, rngs) -> module` of normalisations in a supernet."""
    return lambda features, rngs: BatchStatistics(axis_name=axis_name)


class _Average(Replaced, nnx.BatchStat):
    pass


class RunningStatistics(nnx.BatchNorm):
    """Normalises by the batch in training and by running averages after; keeps the input's type."""

    def __init__(self, features: int, **options: Any):
        super().__init__(features, **options)
        self.mean, self.var = _Average(self.mean[...]), _Average(self.var[...])

    def __call__(self, x: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
        """Returns `x` (`[B, ..., C]`) normalised, scaled and shifted per channel."""
        return super().__call__(x, *args, **kwargs).astype(x.dtype)


def network_norm(axis_name: str | None = None) -> Norm:
    """Returns the factory `(features, rngs) -> module` of normalisations in a network."""
    return lambda features, rngs: RunningStatistics(
        features, momentum=0.9, epsilon=EPSILON, axis_name=axis_name, rngs=rngs
    )
