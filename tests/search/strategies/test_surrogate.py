"""Searches that learn: what they ask for, and that it is better than chance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.search.strategies import (
    STRATEGIES,
    RandomSearch,
    fitness,
    run_strategy,
)
from hwnas_jax.search.strategies.bananas import Bananas, mutated_everywhere
from hwnas_jax.search.strategies.memory import empty_memory, remembered, targets_of
from hwnas_jax.search.strategies.moves import changed
from hwnas_jax.search.strategies.surrogate import SurrogateSearch
from tests.search.strategies.limited import limited

MASK = np.ones((5, 4), bool)
MASK[0, 1] = False
_RNG = np.random.default_rng(3)
ADDED = _RNG.normal(size=MASK.shape).astype(np.float32)
PAIRS = _RNG.normal(size=(4, 4)).astype(np.float32)
COSTS = _RNG.uniform(size=MASK.shape).astype(np.float32)
ALL = np.stack(np.meshgrid(*[np.flatnonzero(row) for row in MASK], indexing="ij"), -1).reshape(
    -1, 5
)
LIMIT = float(np.quantile(COSTS[np.arange(5), ALL].sum(axis=1), 0.3))
QUERIES, SEEDS = 40, 8


def score_of(rows):
    score = jnp.asarray(ADDED)[jnp.arange(5), rows].sum(-1)
    return score + jnp.asarray(PAIRS)[rows[:, 0], rows[:, 1]]


ahead, judge = limited(COSTS, LIMIT, score_of)


@functools.cache
def histories(strategy):
    def run(key):
        rounds = QUERIES // strategy.each
        history = run_strategy(strategy, key, jnp.asarray(MASK), judge, rounds, ahead)[1]
        return history.architectures.reshape(-1, 5), history.told.score, history.told.excess

    found = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), SEEDS))
    return [np.asarray(leaf).reshape(SEEDS, QUERIES, *leaf.shape[3:]) for leaf in found[1:]], (
        np.asarray(found[0])
    )


def best_within(strategy):
    """Returns the best score within the limit of each seed."""
    (score, excess), _ = histories(strategy)
    return np.where(excess <= 0, score, -np.inf).max(axis=1)


LEARNING = {
    "gaussian": SurrogateSearch(pool=60, memory=QUERIES),
    "thompson": SurrogateSearch(pool=60, memory=QUERIES, predictor="ridge", infill="thompson"),
    "gradient": STRATEGIES.make(
        Part("gradient_surrogate", {"starts": 6, "steps": 30, "memory": QUERIES})
    ),
}


@pytest.mark.parametrize("name", LEARNING)
def test_it_learns_where_the_best_are(name):
    """Nearer to the best architecture within the limit than random search, by far."""
    strategy = LEARNING[name]
    scores = np.asarray(score_of(ALL))
    top = scores[np.asarray(ahead(ALL).excess) <= 0].max()
    regret = top - best_within(strategy)
    by_chance = top - best_within(RandomSearch())
    assert (regret >= -1e-5).all()
    assert regret.mean() < 0.4 * by_chance.mean()


@pytest.mark.parametrize("name", LEARNING)
def test_it_asks_for_nothing_twice_and_keeps_the_limit(name):
    (_, excess), asked = histories(LEARNING[name])
    for rows, over in zip(asked[:, 10:], excess[:, 10:], strict=True):
        assert (over <= 0).all()
        assert len(np.unique(rows, axis=0)) == len(rows)
    for rows in asked:
        learned = {tuple(row) for row in rows[10:].tolist()}
        assert not learned & {tuple(row) for row in rows[:10].tolist()}


def told_of(count, seed=0):
    rng = np.random.default_rng(seed)
    rows = ALL[rng.permutation(len(ALL))[:count]].astype(np.int32)
    state = empty_memory(jnp.asarray(MASK), 40)
    return remembered(state, jnp.asarray(rows), judge(jnp.asarray(rows), None, None)[0])


def test_offline_learns_from_the_initial_ones_alone():
    """What is told of a bad one later changes what a search asks for only if it learns online."""
    state = told_of(30)
    rank = np.argsort(np.argsort(-np.asarray(fitness(state.told))[:30]))
    later = np.flatnonzero((np.arange(30) >= 20) & (rank >= 3))
    assert len(later) > 2
    worse = state.told._replace(score=state.told.score.at[later].add(-50.0))
    for refit in (False, True):
        strategy = SurrogateSearch(
            predictor="ridge", refit=refit, memory=40, initial=20, parents=3, targets="scores"
        )
        ask = jax.jit(lambda state, own=strategy: own.ask(state, jax.random.key(1), ahead))
        rows = [ask(one) for one in (state, state._replace(told=worse))]
        assert np.array_equal(*rows) == (not refit)


def test_targets_are_scores_or_ranks_and_the_best_keeps_the_budget():
    state = told_of(30)
    score, excess = np.asarray(state.told.score)[:30], np.asarray(state.told.excess)[:30]
    targets, best = targets_of(state, "scores")
    np.testing.assert_array_equal(targets[:30], score)
    assert float(best) == score[excess <= 0].max() < score.max()
    ranks, highest = targets_of(state, "ranks")
    np.testing.assert_array_equal(np.argsort(ranks[:30]), np.argsort(score))
    assert float(highest) == np.asarray(ranks)[:30][excess <= 0].max()
    none = state._replace(told=state.told._replace(excess=jnp.ones(40)))
    assert float(targets_of(none, "scores")[1]) == score.min()


def test_a_candidate_differs_by_one_to_three_changes():
    parent = jnp.array([2, 1, 1, 0, 3])
    keys = jax.random.split(jax.random.key(0), 4000)
    change = jax.jit(jax.vmap(lambda key: changed(key, parent, jnp.asarray(MASK), 3)))
    children = np.asarray(change(keys))
    distance = (children != np.asarray(parent)).sum(axis=1)
    assert MASK[np.arange(5), children].all()
    # Of two changes, a fifth meets one decision twice; two of its three other options remain new.
    share = np.bincount(distance, minlength=4) / len(keys)
    assert share[1] > 1 / 3 and share[2] > 0.3 and 0.1 < share[3] < 1 / 3 and share[0] < 0.05


def test_bananas_changes_each_decision_by_a_chance():
    mask = jnp.asarray(MASK).at[3].set(jnp.array([True, False, False, False]))
    parent = jnp.array([2, 1, 1, 0, 3])
    keys = jax.random.split(jax.random.key(0), 20_000)
    change = jax.jit(jax.vmap(lambda key: mutated_everywhere(key, parent, mask, 0.25)))
    children = np.asarray(change(keys))
    moved = children != np.asarray(parent)
    np.testing.assert_allclose(moved.mean(axis=0), [0.25, 0.25, 0.25, 0, 0.25], atol=0.012)
    assert np.asarray(mask)[np.arange(5), children].all()
    options = np.bincount(children[moved[:, 4], 4], minlength=4) / moved[:, 4].sum()
    np.testing.assert_allclose(options, [1 / 3, 1 / 3, 1 / 3, 0], atol=0.02)
    # Decisions change independently.
    assert np.corrcoef(moved[:, [0, 1, 2, 4]].T)[np.triu_indices(4, 1)].max() < 0.03


def test_bananas_looks_at_the_paths_alone_where_there_are_any():
    features = np.arange(60, dtype=np.float32).reshape(2, 30)
    strategy = Bananas(paths=4)
    paths = strategy._paths(jnp.asarray(features), jnp.asarray(MASK))
    np.testing.assert_array_equal(paths, features[:, 20:24])
    options = jnp.asarray(features[:, :20])
    np.testing.assert_array_equal(strategy._paths(options, jnp.asarray(MASK)), features[:, :20])


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        (
            "surrogate",
            {"predictor": "forest"},
            "unknown predictor 'forest': allowed are .*gaussian",
        ),
        ("surrogate", {"infill": "improvement"}, "infill = 'improvement' must be 'expected_impr"),
        ("surrogate", {"memory": 6}, "memory = 6 has no place for the 10 architectures of initial"),
        ("bananas", {"each": 20, "memory": 12}, "memory = 12 has no place for the 20"),
    ],
)
def test_options_that_cannot_be(name, args, said):
    with pytest.raises(UserError, match=said):
        STRATEGIES.make(Part(name, args))
