"""Bayesian ridge regression on the features.

Legend: `N` architectures to learn from, `n` asked about, `F` features.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from hwnas_jax.search.predictors.base import PREDICTORS, Predictor, Scale, standardised
from hwnas_jax.search.predictors.evidence import Posterior, most_evident, predicted


class Frame(NamedTuple):
    """Where the features of the known rows lie.

    Attributes:
      centre: `float32[F]`, their mean.
      size: `float32[]`, the root of their mean squared distance from it.
    """

    centre: jax.Array
    size: jax.Array

    def __call__(self, features: jax.Array) -> jax.Array:
        """Returns features (`float32[n, F]`) about the mean and of mean squared length one."""
        return (features - self.centre) / self.size


def framed(features: jax.Array, known: jax.Array) -> tuple[Frame, jax.Array]:
    """Returns the frame of the known rows, and the rows in it, `float32[N, F]`.

    Args:
      features: `float32[N, F]`.
      known: `bool[N]`; the other rows become zero.
    """
    count = jnp.maximum(known.sum(), 1)
    centre = jnp.where(known[:, None], features, 0.0).sum(axis=0) / count
    moved = jnp.where(known[:, None], features - centre, 0.0)
    size = jnp.sqrt(jnp.maximum((moved**2).sum() / count, 1e-6))
    return Frame(centre, size), moved / size


class FittedRidge(NamedTuple):
    """The posterior, with the known rows that it is expressed by.

    Attributes:
      scale: of the targets.
      frame: of the features.
      rows: `float32[N, F]`, the known rows in it; zero where not known.
      size: `int32[]`, how many rows are known.
      posterior: of the kernel of products.
    """

    scale: Scale
    frame: Frame
    rows: jax.Array
    size: jax.Array
    posterior: Posterior


@PREDICTORS.add
@dataclasses.dataclass(frozen=True)
class Ridge(Predictor):
    """The score is a sum of effects of the features, each with the same normal prior.

    The intercept has no prior. The penalty, which is the variance of the noise over that of an
    effect, is the one of a grid with the greatest evidence. The standard deviation is that of a new
    observation: it covers the effects, the intercept, and what the sum cannot express.

    References: MacKay, "Bayesian Interpolation", Neural Computation 1992.
    """

    name = "ridge"
    summary = "Bayesian ridge regression, the penalty chosen by the evidence"

    def fit(
        self, key: jax.Array, features: jax.Array, targets: jax.Array, known: jax.Array
    ) -> FittedRidge:
        """Returns the posterior; uses no `key`."""
        del key
        scaled, scale = standardised(targets, known)
        frame, rows = framed(features, known)
        posterior = most_evident(rows @ rows.T, scaled, known)
        return FittedRidge(scale, frame, rows, jnp.maximum(known.sum(), 1), posterior)

    def predict(self, fitted: FittedRidge, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns mean and standard deviation, two `float32[n]`."""
        asked = fitted.frame(features)
        across = asked @ fitted.rows.T
        mean, variance = predicted(fitted.posterior, across, (asked**2).sum(axis=1))
        return fitted.scale.back(mean, variance + fitted.posterior.noise / fitted.size)
