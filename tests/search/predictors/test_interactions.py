"""The predictor of decisions and their interactions: exact expectations, and the cost kernel."""

import itertools

import jax
import numpy as np
import pytest

from hwnas_jax.cost.models.interaction_kernel import symmetric_matches
from hwnas_jax.search.predictors.interactions import (
    expected_score,
    fit_interactions,
    predict_interactions,
    shares_of_matches,
)

OPTIONS, DECISIONS = 3, 4
ALL = np.array(list(itertools.product(range(OPTIONS), repeat=DECISIONS)), np.int32)
_RNG = np.random.default_rng(0)
PAIRS = _RNG.normal(size=(OPTIONS, OPTIONS))
SCORES = (_RNG.normal(size=(DECISIONS, OPTIONS))[np.arange(DECISIONS), ALL].sum(axis=1)
          + PAIRS[ALL[:, 0], ALL[:, 1]] + PAIRS[ALL[:, 2], ALL[:, 3]])  # fmt: skip
ORDER = _RNG.permutation(len(ALL))
SEEN, NEW = ORDER[:40], ORDER[40:]
KNOWN = np.arange(40) < 34
ONE_HOT = np.eye(OPTIONS, dtype=np.float32)[ALL]
FITTED = jax.jit(fit_interactions)(ONE_HOT[SEEN], np.float32(SCORES[SEEN]), KNOWN)


def test_matches_are_those_of_the_kernel_of_costs():
    matches = np.float32(ALL[SEEN][:, None] == ALL[NEW])
    expected = symmetric_matches(ALL[SEEN], ALL[NEW], 3)
    np.testing.assert_allclose(jax.jit(shares_of_matches)(matches), expected, atol=1e-6)


def test_it_is_the_posterior_of_that_kernel():
    kept = SEEN[KNOWN]
    weights = np.asarray(FITTED.variances, float)
    parts = [np.tensordot(weights, symmetric_matches(ALL[a], ALL[kept], 3), 1) for a in (kept, NEW)]
    ratio, noise = float(FITTED.posterior.ratio), float(FITTED.posterior.noise)
    inverse = np.linalg.inv(ratio * parts[0] + np.eye(len(kept)))
    centre, width = SCORES[kept].mean(), SCORES[kept].std()
    mean = centre + ratio * parts[1] @ inverse @ (SCORES[kept] - centre)
    seen = np.einsum("nk,kl,nl->n", parts[1], inverse, parts[1])
    variance = noise * (1 + ratio - ratio**2 * seen)
    found = jax.jit(predict_interactions)(FITTED, ONE_HOT[NEW])
    np.testing.assert_allclose(found[0], mean, atol=5e-3)
    np.testing.assert_allclose(found[1], width * np.sqrt(variance), rtol=2e-2)
    assert np.corrcoef(found[0], SCORES[NEW])[0, 1] > 0.8
    assert float(FITTED.variances[1]) > 0, "pairs matter here, and the evidence has to say so"


def test_the_mean_at_probabilities_is_the_expectation():
    """By enumeration of all architectures, value and gradient."""
    share = np.random.default_rng(1).dirichlet(np.ones(OPTIONS), DECISIONS).astype(np.float32)
    scores = jax.jit(jax.vmap(lambda row: expected_score(FITTED, row)))(ONE_HOT)

    def enumerated(share):
        return (share[np.arange(DECISIONS), ALL].prod(axis=1) * scores).sum()

    value, slope = jax.jit(jax.value_and_grad(lambda share: expected_score(FITTED, share)))(share)
    expected, gradient = jax.jit(jax.value_and_grad(enumerated))(share)
    assert float(value) == pytest.approx(float(expected), abs=1e-4)
    # Rows of probabilities move only along differences.
    tangent = gradient - gradient.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(slope - slope.mean(axis=1, keepdims=True), tangent, atol=1e-4)
