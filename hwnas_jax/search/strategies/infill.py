"""How promising an architecture is by what a predictor says: infill criteria.

All take `float32[n]` and return `float32[n]`, the higher the more promising.

Legend: `n` candidates, `M` known points.

References: Jones, Schonlau and Welch, "Efficient Global Optimization of Expensive Black-Box
Functions", 1998; Srinivas et al., "Gaussian Process Optimization in the Bandit Setting", ICML 2010;
Thompson, "On the likelihood that one unknown probability exceeds another", 1933; Gardner et al.,
"Bayesian Optimization with Inequality Constraints", ICML 2014; White, Neiswanger and Savani,
"BANANAS", AAAI 2021 (independent Thompson sampling); Emmerich, Deutz and Klinkenberg,
"Hypervolume-Based Expected Improvement: Monotonicity Properties and Exact Computation", CEC 2011.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

_LEAST = 1e-6


def expected_improvement(mean: jax.Array, std: jax.Array, best: jax.Array) -> jax.Array:
    """Returns by how much a normal score is expected to exceed the best, where it does.

    Args:
      mean: of the score.
      std: of the score.
      best: `float32[]`, the highest score so far.
    """
    std = jnp.maximum(std, _LEAST)
    ahead = (mean - best) / std
    normal = jax.scipy.stats.norm
    # Far below the best the difference of the two terms is lost in rounding.
    near = ahead * normal.cdf(ahead) + normal.pdf(ahead)
    far = normal.pdf(ahead) / (ahead**2 + 2.0)
    return std * jnp.where(ahead > -3.0, near, far)


def upper_confidence(mean: jax.Array, std: jax.Array, deviations: float) -> jax.Array:
    """Returns the mean plus some standard deviations."""
    return mean + deviations * std


def thompson(key: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Returns a draw of every score, each independent of the others."""
    return mean + std * jax.random.normal(key, mean.shape)


def constrained_improvement(
    mean: jax.Array, std: jax.Array, best: jax.Array, chance: jax.Array
) -> jax.Array:
    """Returns the expected improvement times the chance to keep the budget.

    Args:
      mean: of the score.
      std: of the score.
      best: `float32[]`, the highest score so far within the budget.
      chance: of each to keep the budget.
    """
    return expected_improvement(mean, std, best) * chance


class Points(NamedTuple):
    """Architectures whose cost and score are known, and the worst corner of the area they cover.

    Attributes:
      cost: `float32[M]`.
      score: `float32[M]`.
      counts: `bool[M]`, which of them there are; the others may hold anything.
      most: `float32[]`, the cost of the corner; what costs more covers nothing.
      least: `float32[]`, the score of the corner, likewise.
    """

    cost: jax.Array
    score: jax.Array
    counts: jax.Array
    most: jax.Array
    least: jax.Array


def hypervolume_improvement(
    mean: jax.Array, std: jax.Array, cost: jax.Array, points: Points
) -> jax.Array:
    """Returns by how much a normal score is expected to enlarge the area that points cover.

    The area lies between the corner and what is no better than any of the points in both score and
    cost. The cost of a candidate is known. Above each stretch of costs the candidate adds what its
    score exceeds the best score for that cost by, so that the expectation is a sum of expected
    improvements, each times the width of its stretch. It is exact.

    Args:
      mean: of the score.
      std: of the score.
      cost: of the candidates.
      points: what is known.
    """
    reach = jnp.where(points.counts, jnp.minimum(points.cost, points.most), points.most)
    order = jnp.argsort(reach)
    height = jnp.where(points.counts, jnp.maximum(points.score, points.least), points.least)
    best = jax.lax.associative_scan(jnp.maximum, height[order])
    best = jnp.concatenate([points.least[None], best])
    ends = jnp.concatenate([reach[order], points.most[None]])
    starts = jnp.concatenate([jnp.full(1, -jnp.inf), reach[order]])
    width = jnp.maximum(ends - jnp.maximum(starts, cost[:, None]), 0.0)
    return (width * expected_improvement(mean[:, None], std[:, None], best)).sum(axis=1)
