"""The search for a whole front: what it finds of one that is known, and how a round spreads."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.report.pareto_front import Reference, hypervolume
from hwnas_jax.report.pareto_front import on_front as exact_front
from hwnas_jax.search.strategies import (
    FrontSurrogate,
    RandomSearch,
    run_strategy,
)
from hwnas_jax.search.strategies.front_surrogate import on_front
from hwnas_jax.search.strategies.memory import empty_memory, remembered
from tests.search.strategies.limited import limited

DECISIONS, WIDTH, QUERIES, SEEDS = 5, 4, 50, 6
MASK = np.ones((DECISIONS, WIDTH), bool)
MASK[1, 0] = False
_RNG = np.random.default_rng(5)
SCORES = np.sort(_RNG.normal(size=MASK.shape), axis=1).astype(np.float32)
COSTS = np.sort(_RNG.exponential(size=MASK.shape), axis=1).astype(np.float32)
EVERY = np.array(list(itertools.product(*[np.flatnonzero(row) for row in MASK])), np.int32)


def added(table, rows):
    return jnp.asarray(table)[jnp.arange(DECISIONS), rows].sum(axis=-1)


LIMIT = float(np.quantile(np.asarray(added(COSTS, EVERY)), 0.7))


def score_of(rows):
    """A sum, and one pair of options that goes well together."""
    return added(SCORES, rows) + 1.0 * ((rows[:, 0] == 1) & (rows[:, 2] == 2))


ahead, judge = limited(COSTS, LIMIT, score_of)


@functools.cache
def found_by(strategy):
    """Returns what each search asked for, `int32[S, E, D]`, and what was told of it."""

    def run(key):
        rounds = QUERIES // strategy.each
        return run_strategy(strategy, key, jnp.asarray(MASK), judge, rounds, ahead)[1]

    history = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), SEEDS))
    told = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(SEEDS, -1), history.told)
    return np.asarray(history.architectures).reshape(SEEDS, -1, DECISIONS), told


SEARCH = FrontSurrogate(pool=60, memory=QUERIES)


def areas(strategy):
    """Returns the area that each search covers, as shares of the exact one."""
    told = judge(EVERY, None, None)[0]
    inside = np.asarray(told.excess) <= 0
    cost, score = np.asarray(told.cost)[inside], np.asarray(told.score)[inside]
    corner = Reference(cost.max(), score.min())
    whole = hypervolume(cost, score, corner)
    _, asked = found_by(strategy)
    return [
        hypervolume(own.cost[own.excess <= 0], own.score[own.excess <= 0], corner) / whole
        for own in (jax.tree.map(lambda leaf, n=number: leaf[n], asked) for number in range(SEEDS))
    ]


def test_it_covers_nearly_the_whole_area_within_the_limit():
    """With under a tenth of the networks, of which random search misses much more."""
    assert len(EVERY) > 10 * QUERIES
    missed = 1 - np.mean(areas(SEARCH))
    assert missed < 0.03
    assert missed < 0.3 * (1 - np.mean(areas(RandomSearch())))


def test_it_asks_for_nothing_twice_and_keeps_the_limit():
    asked, told = found_by(SEARCH)
    assert (told.excess[:, SEARCH.initial :] <= 0).all()
    for rows in asked:
        later = np.unique(rows[SEARCH.initial :], axis=0)
        assert len(later) == QUERIES - SEARCH.initial
        assert not {tuple(row) for row in later} & {tuple(row) for row in rows[: SEARCH.initial]}


def memory_of(rows, places=40):
    rows = jnp.asarray(rows)
    return remembered(empty_memory(jnp.asarray(MASK), places), rows, judge(rows, None, None)[0])


def test_those_of_one_round_spread_over_the_front():
    """What adds most by itself lies close together: a third of the range, not two thirds."""
    state = memory_of(EVERY[np.random.default_rng(0).permutation(len(EVERY))[:30]])
    strategy = FrontSurrogate(pool=60, memory=40, each=4, targets="scores")
    keys = jax.random.split(jax.random.key(3), 16)
    chosen = np.asarray(jax.jit(jax.vmap(lambda key: strategy.choose(state, key, ahead)))(keys))
    lowest = np.asarray(added(COSTS, EVERY)).min()
    costs = np.sort(np.asarray(added(COSTS, chosen)), axis=1) / (LIMIT - lowest)
    assert np.ptp(costs, axis=1).mean() > 0.55
    assert np.diff(costs, axis=1).min(axis=1).mean() > 0.09


def test_the_front_is_that_of_the_definition():
    rows = EVERY[np.random.default_rng(1).permutation(len(EVERY))[:30]]
    state = memory_of(rows)
    told = judge(jnp.asarray(rows), None, None)[0]
    inside = np.asarray(told.excess) <= 0
    expected = np.zeros(40, bool)
    cost, score = np.asarray(told.cost), np.asarray(told.score)
    expected[np.flatnonzero(inside)] = exact_front(cost[inside], score[inside])
    assert 2 < expected.sum() < inside.sum()
    np.testing.assert_array_equal(jax.jit(on_front)(state), expected)


@pytest.mark.parametrize("lost", [jnp.nan, jnp.inf])
def test_what_could_not_be_judged_is_on_no_front(lost):
    state = memory_of(EVERY[:10])
    excess = state.told.excess.at[:10].set(lost)
    state = state._replace(told=state.told._replace(excess=excess))
    assert not np.asarray(jax.jit(on_front)(state)).any()
