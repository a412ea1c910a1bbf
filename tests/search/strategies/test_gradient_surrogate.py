"""The climb on a differentiable surrogate, against all architectures of a small space."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.search.predictors.interactions import fit_interactions, predict_interactions
from hwnas_jax.search.strategies import Outlook, SoftAhead
from hwnas_jax.search.strategies.gradient_surrogate import GradientSurrogate, expected_excess

MASK = np.ones((4, 3), bool)
MASK[1, 2] = False
ALL = np.array([row for row in itertools.product(range(3), repeat=4) if row[1] < 2], np.int32)
ONE_HOT = np.eye(3, dtype=np.float32)[ALL]
_RNG = np.random.default_rng(5)
ADDED = _RNG.normal(size=(4, 3))
SCORES = ADDED[np.arange(4), ALL].sum(axis=1)
# What is good tends to be dear.
COSTS = np.maximum(0.5 + 0.3 * ADDED + 0.3 * _RNG.uniform(size=(4, 3)), 0.05).astype(np.float32)
TOTAL = COSTS[np.arange(4), ALL].sum(axis=1)
# In the widest gap of the middle third: an excess near zero has hardly a price.
_MIDDLE = np.sort(TOTAL)[len(TOTAL) // 3 : -len(TOTAL) // 3]
LIMIT = float(_MIDDLE[np.argmax(np.diff(_MIDDLE)) :][:2].mean())


def look(rows):
    cost = jnp.asarray(COSTS)[jnp.arange(4), rows].sum(-1)
    excess = jnp.maximum(cost / LIMIT - 1, 0)
    return Outlook(cost, excess, (excess <= 0).astype(jnp.float32), rows.astype(jnp.float32))


def expected(key, share):
    del key
    return jnp.maximum((share * COSTS).sum() / LIMIT - 1, 0)


@pytest.mark.parametrize("ahead", [look, SoftAhead(look, expected)])
def test_a_climb_ends_at_the_best_within_the_budget(ahead):
    strategy = GradientSurrogate(starts=8, steps=80, neighbours=0)
    fitted = jax.jit(fit_interactions)(ONE_HOT, np.float32(SCORES), np.ones(len(ALL), bool))
    starts = jax.random.normal(jax.random.key(0), (8, *MASK.shape))

    @jax.jit
    def run(key):
        mask = jnp.asarray(MASK)
        ends = strategy.climb(fitted, starts, key, mask, ahead)
        return strategy.candidates(ends, key, mask), predict_interactions(fitted, ONE_HOT)[0]

    found, mean = map(np.asarray, run(jax.random.key(1)))
    assert MASK[np.arange(4), found].all()
    meets = TOTAL <= LIMIT
    best = mean[meets].max()
    assert best < mean.max(), "the limit has to matter"
    numbers = [int(np.flatnonzero((row == ALL).all(axis=1))[0]) for row in found]
    kept = np.array([mean[number] for number in numbers if meets[number]])
    assert kept.max() == pytest.approx(best, abs=1e-3)
    # None is far over the limit, as the best without one is.
    assert TOTAL[numbers].max() < 1.1 * LIMIT < TOTAL[np.argmax(mean)]


def test_candidates_are_likely_drawn_and_changed_architectures():
    strategy = GradientSurrogate(starts=3, draws=400, neighbours=2)
    ends = np.random.default_rng(0).dirichlet(np.ones(3), (3, 4)).astype(np.float32)
    ends[:, 1, 2] = 0
    ends /= ends.sum(axis=-1, keepdims=True)
    found = np.asarray(jax.jit(strategy.candidates)(ends, jax.random.key(0), MASK))
    found = found.reshape(-1, 3, 4)
    likely = ends.argmax(axis=-1)
    np.testing.assert_array_equal(found[0], likely)
    drawn = np.eye(3)[found[1:401]].mean(axis=0)
    np.testing.assert_allclose(drawn, ends, atol=0.08)
    assert len(found) == 403
    assert ((found[401:] != likely).sum(axis=-1) == 1).all()


def test_the_expected_excess_is_that_of_drawn_architectures():
    """In the mean over keys it is the enumerated one where nothing else is known, with gradient."""
    share = np.random.default_rng(0).dirichlet(np.ones(3), 4).astype(np.float32)
    every = np.array(list(itertools.product(range(3), repeat=4)), np.int32)
    values = np.maximum(COSTS[np.arange(4), every].sum(axis=1) / LIMIT - 1, 0)

    def enumerated(share):
        return (share[np.arange(4), every].prod(axis=1) * values).sum()

    keys = jax.random.split(jax.random.key(0), 2000)
    sampled = jax.jit(
        jax.vmap(jax.value_and_grad(lambda s, k: expected_excess(look, k, s)), (None, 0))
    )
    value, slope = (np.asarray(leaf).mean(axis=0) for leaf in sampled(share, keys))
    exact, gradient = jax.jit(jax.value_and_grad(enumerated))(share)
    assert value == pytest.approx(float(exact), rel=0.03)
    centred = [leaf - leaf.mean(axis=1, keepdims=True) for leaf in (slope, np.asarray(gradient))]
    np.testing.assert_allclose(*centred, atol=0.02)


def test_what_knows_the_expected_cost_is_asked():
    share = np.full((4, 3), 1 / 3, np.float32)
    found = expected_excess(SoftAhead(look, expected), jax.random.key(0), share)
    assert float(found) == pytest.approx(max(COSTS.mean(axis=1).sum() / LIMIT - 1, 0), rel=1e-5)
