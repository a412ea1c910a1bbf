"""A Gaussian process over decisions whose mean is exact for drawn architectures too.

Each part of the kernel is a sum of products of matches `[x_d = y_d]` over distinct decisions, so
that the posterior mean is linear in every row of the probabilities: there it *is* the expected
score of an architecture whose decisions are drawn independently, and it can be differentiated.

Legend: `N` architectures to learn from, `n` asked about, `D` decisions, `K` options, `O` orders.

References: Duvenaud, Nickisch and Rasmussen, "Additive Gaussian Processes", 2011.
"""

import itertools
import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.search.predictors.base import Scale, standardised
from hwnas_jax.search.predictors.evidence import Posterior, best_of, most_evident, predicted

_MOST_ORDERS = 3
# How much pairs and triples vary, in multiples of what single decisions do.
_GRID = np.array(
    [(1.0, pair, triple) for pair, triple in itertools.product((0.0, 0.5, 2.0), repeat=2)],
    np.float32,
)


class FittedInteractions(NamedTuple):
    """The posterior, with the known architectures that it is expressed by.

    Attributes:
      scale: of the targets.
      rows: `float32[N, D, K]`, the known architectures one-hot; zero where not known.
      variances: `float32[O]`, of the orders; they add up to one.
      posterior: of the kernel with these variances.
    """

    scale: Scale
    rows: jax.Array
    variances: jax.Array
    posterior: Posterior


def shares_of_matches(matches: jax.Array) -> jax.Array:
    """Returns the mean product of matches over all sets of one, two and three decisions.

    These are the elementary symmetric polynomials over their largest values.

    Args:
      matches: `float32[..., D]`.

    Returns:
      `float32[O, ...]`; `O` is three, or `D` where that is less.
    """
    decisions = matches.shape[-1]
    orders = min(_MOST_ORDERS, decisions)
    sums = [jnp.ones(matches.shape[:-1]), *[jnp.zeros(matches.shape[:-1])] * orders]
    for d in range(decisions):
        for order in range(orders, 0, -1):
            sums[order] = sums[order] + matches[..., d] * sums[order - 1]
    return jnp.stack([total / math.comb(decisions, o) for o, total in enumerate(sums) if o])


def fit_interactions(rows: jax.Array, targets: jax.Array, known: jax.Array) -> FittedInteractions:
    """Returns the posterior, its variances chosen by the evidence from a grid.

    Args:
      rows: `float32[N, D, K]`, architectures one-hot.
      targets: `float32[N]`, higher is better.
      known: `bool[N]`.
    """
    chex.assert_rank(rows, 3)
    scaled, scale = standardised(targets, known)
    rows = jnp.where(known[:, None, None], rows, 0.0)
    parts = shares_of_matches(jnp.einsum("ndk,mdk->nmd", rows, rows))
    grid = jnp.asarray(_GRID)[:, : len(parts)]
    grid = grid / grid.sum(axis=1, keepdims=True)
    every = jax.vmap(lambda own: most_evident(jnp.tensordot(own, parts, 1), scaled, known))(grid)
    variances = grid[jnp.argmax(every.log_evidence)]
    return FittedInteractions(scale, rows, variances, best_of(every))


def expected_score(fitted: FittedInteractions, share: jax.Array) -> jax.Array:
    """Returns the expected score of an architecture that is drawn, `float32[]`, standardised.

    Args:
      fitted: what `fit_interactions` returned.
      share: `float32[D, K]`, the probabilities of the options.
    """
    matches = jnp.einsum("dk,ndk->nd", share, fitted.rows)
    return (fitted.variances @ shares_of_matches(matches)) @ fitted.posterior.weights


def predict_interactions(
    fitted: FittedInteractions, rows: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns mean and standard deviation of the scores of architectures, two `float32[n]`.

    Args:
      fitted: what `fit_interactions` returned.
      rows: `float32[n, D, K]`, architectures one-hot.
    """
    parts = shares_of_matches(jnp.einsum("ndk,mdk->nmd", rows, fitted.rows))
    across = jnp.tensordot(fitted.variances, parts, 1)
    return fitted.scale.back(*predicted(fitted.posterior, across, jnp.ones(len(rows))))
