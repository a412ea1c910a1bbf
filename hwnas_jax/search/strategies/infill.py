"""How promising an architecture is by what a predictor says: infill criteria.

All take `float32[n]` and return `float32[n]`, the higher the more promising.

References: Jones, Schonlau and Welch, "Efficient Global Optimization of Expensive Black-Box
Functions", 1998; Srinivas et al., "Gaussian Process Optimization in the Bandit Setting", ICML 2010;
Thompson, "On the likelihood that one unknown probability exceeds another", 1933; Gardner et al.,
"Bayesian Optimization with Inequality Constraints", ICML 2014; White, Neiswanger and Savani,
"BANANAS", AAAI 2021 (independent Thompson sampling).
"""

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
