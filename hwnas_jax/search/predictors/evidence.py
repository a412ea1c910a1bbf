"""Regression by a kernel, whose noise is chosen by the evidence.

Legend: `N` rows to learn from, `n` asked about, `R` ratios.

References: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006 (sections 2.2
and 5.4).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

# The variance of the kernel over that of the noise. A Cholesky factor for each of them takes far
# less time than the eigenvalues of the kernel, which serve all.
RATIOS = np.geomspace(1e-2, 1e3, 11).astype(np.float32)


class Posterior(NamedTuple):
    """What was learned from the known rows.

    Attributes:
      log_evidence: `float32[]`, of the targets at the best ratio, up to a constant.
      ratio: `float32[]`, the variance of the kernel over that of the noise.
      noise: `float32[]`, the variance of the noise.
      weights: `float32[N]`, of the rows in the posterior mean.
      factor: `float32[N, N]`, the Cholesky factor of the ratio times the kernel plus one.
    """

    log_evidence: jax.Array
    ratio: jax.Array
    noise: jax.Array
    weights: jax.Array
    factor: jax.Array


def most_evident(gram: jax.Array, targets: jax.Array, known: jax.Array) -> Posterior:
    """Returns the posterior at the ratio under which the targets are most probable.

    The variance of the noise has a closed form for each ratio.

    Args:
      gram: `float32[N, N]`, the kernel between the rows, about one between a row and itself.
      targets: `float32[N]` of mean zero; zero where not known.
      known: `bool[N]`.
    """
    chex.assert_shape(gram, (len(targets), len(targets)))
    count = jnp.maximum(known.sum(), 1)
    gram = jnp.where(known[:, None] & known, gram, 0.0)

    def at(ratio):
        factor = jnp.linalg.cholesky(ratio * gram + jnp.eye(len(targets)))
        solved = jax.scipy.linalg.solve_triangular(factor, targets, lower=True)
        noise = jnp.maximum((solved**2).sum() / count, 1e-8)
        # A row that is not known adds the logarithm of one.
        evidence = -0.5 * count * jnp.log(noise) - jnp.log(jnp.diagonal(factor)).sum()
        weights = ratio * jax.scipy.linalg.solve_triangular(factor, solved, lower=True, trans=1)
        return Posterior(jnp.nan_to_num(evidence, nan=-jnp.inf), ratio, noise, weights, factor)

    return best_of(jax.vmap(at)(jnp.asarray(RATIOS)))


def best_of(every: Posterior) -> Posterior:
    """Returns the posterior with the greatest evidence, of several with a leading axis."""
    best = jnp.argmax(every.log_evidence)
    return jax.tree.map(lambda leaf: leaf[best], every)


def predicted(fit: Posterior, across: jax.Array, own: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and variance of a new observation, its noise included, two `float32[n]`.

    Args:
      fit: what `most_evident` returned.
      across: `float32[n, N]`, the kernel between new rows and known ones; zero for others.
      own: `float32[n]`, the kernel between each new row and itself.
    """
    solved = jax.scipy.linalg.solve_triangular(fit.factor, across.T, lower=True)
    seen = (solved**2).sum(axis=0)
    prior = jnp.maximum(fit.ratio * own - fit.ratio**2 * seen, 0.0)
    return across @ fit.weights, fit.noise * (1.0 + prior)
