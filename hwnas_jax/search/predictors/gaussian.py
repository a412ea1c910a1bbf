"""A Gaussian process on the features: a sum of effects, and interactions of every order.

Legend: `N` architectures to learn from, `n` asked about, `F` features.
"""

import dataclasses
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.search.predictors.base import PREDICTORS, Predictor, Scale, standardised
from hwnas_jax.search.predictors.evidence import Posterior, best_of, most_evident, predicted
from hwnas_jax.search.predictors.ridge import Frame, framed

# How much of the variance the radial kernel has, and its length scale, in multiples of the mean
# distance between two rows.
_GRID = np.array(list(itertools.product((0.1, 0.5, 0.9), (0.35, 0.7, 1.4))), np.float32)


class FittedGaussian(NamedTuple):
    """The posterior, with the known rows that it is expressed by.

    Attributes:
      scale: of the targets.
      frame: of the features.
      rows: `float32[N, F]`, the known rows in it; zero where not known.
      known: `bool[N]`.
      shape: `float32[2]`, the point of the grid.
      posterior: of the kernel there.
    """

    scale: Scale
    frame: Frame
    rows: jax.Array
    known: jax.Array
    shape: jax.Array
    posterior: Posterior


def _kernel(left, right, shape):
    """Returns the kernel `float32[n, N]` between rows in their frame."""
    share, reach = shape
    products = left @ right.T
    lengths = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)
    # Two drawn rows are the root of two apart.
    radial = jnp.exp((2.0 * products - lengths) / (4.0 * reach**2))
    return (1.0 - share) * products + share * radial


@PREDICTORS.add
@dataclasses.dataclass(frozen=True)
class Gaussian(Predictor):
    """Adds the effects of single features to a smooth function of all of them.

    The kernel is a weighted sum of inner products, which stand for the sum of effects, and of a
    radial kernel of the distance. On one-hot options the distance counts the decisions that differ,
    and the radial kernel is a product over decisions, so it holds the interactions of every order.
    The weight, the length scale and the noise are those of a grid with the greatest evidence. The
    standard deviation is that of a new observation.

    References: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006; Duvenaud,
    Nickisch and Rasmussen, "Additive Gaussian Processes", 2011.
    """

    name = "gaussian"
    summary = "Gaussian process: effects of features and a radial kernel, chosen by the evidence"

    def fit(
        self, key: jax.Array, features: jax.Array, targets: jax.Array, known: jax.Array
    ) -> FittedGaussian:
        """Returns the posterior; uses no `key`."""
        del key
        scaled, scale = standardised(targets, known)
        frame, rows = framed(features, known)
        grid = jnp.asarray(_GRID)
        every = jax.vmap(lambda shape: most_evident(_kernel(rows, rows, shape), scaled, known))(
            grid
        )
        shape = grid[jnp.argmax(every.log_evidence)]
        return FittedGaussian(scale, frame, rows, known, shape, best_of(every))

    def predict(self, fitted: FittedGaussian, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns mean and standard deviation, two `float32[n]`."""
        asked, share = fitted.frame(features), fitted.shape[0]
        across = jnp.where(fitted.known, _kernel(asked, fitted.rows, fitted.shape), 0.0)
        own = (1.0 - share) * (asked**2).sum(axis=1) + share
        return fitted.scale.back(*predicted(fitted.posterior, across, own))
