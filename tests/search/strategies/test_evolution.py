"""Regularised evolution against a plain queue, closed forms and a plain program."""

import collections
import random

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.evolution import evolve
from hwnas_jax.search.strategies import RegularisedEvolution, Told, no_budget, run_strategy

WIDTHS = (5,) * 6
MASK = np.ones((6, 5), bool)
POPULATION, SAMPLE = 10, 3
# Options that are good or bad wherever they stand, and as much that depends on all of them.
_RNG = np.random.default_rng(1)
_ADDED = sum(np.ix_(*_RNG.normal(size=(6, 5))))
SCORES = (_ADDED + _RNG.normal(size=(5,) * 6)).astype(np.float32)


def judge(architectures, fidelity, key):
    del fidelity, key
    score = jnp.asarray(SCORES)[tuple(architectures.T)]
    return Told(score, *[jnp.zeros_like(score)] * 2), {}


def children_of(strategy, state, keys):
    """Returns what it asks for with each key, without a budget, `int32[n, D]`."""
    ask = jax.jit(jax.vmap(lambda key: strategy.ask(state, key, no_budget)))
    return np.asarray(ask(keys))[:, 0]


def test_the_oldest_dies():
    """After every round the queue holds the last ten, whatever their score."""
    for each in (1, 4):
        strategy = RegularisedEvolution(POPULATION, SAMPLE, each)
        tell = jax.jit(strategy.tell)
        rng = np.random.default_rng(0)
        state = strategy.init(jax.random.key(0), jnp.asarray(MASK))
        plain: collections.deque = collections.deque(maxlen=POPULATION)
        for _ in range(9):
            rows = rng.integers(0, 5, (each, 6)).astype(np.int32)
            score = rng.normal(size=each).astype(np.float32)
            state = tell(state, rows, Told(jnp.asarray(score), *[jnp.zeros(each)] * 2))
            plain.extend((float(s), tuple(r.tolist())) for s, r in zip(score, rows, strict=True))
            held = min(int(state.seen), POPULATION)
            assert held == len(plain)
            queue = zip(
                np.asarray(state.fitness)[:held].tolist(),
                map(tuple, np.asarray(state.architectures)[:held].tolist()),
                strict=True,
            )
            assert sorted(queue) == sorted(plain)


def test_the_first_are_random_and_the_rest_have_a_parent_in_the_queue():
    strategy = RegularisedEvolution(POPULATION, SAMPLE)
    run = jax.jit(lambda key: run_strategy(strategy, key, jnp.asarray(MASK), judge, 60)[1])
    asked = np.asarray(run(jax.random.key(2)).architectures)[:, 0]
    for number in range(POPULATION, 60):
        distance = (asked[number - POPULATION : number] != asked[number]).sum(axis=1)
        assert (distance == 1).any()
    apart = (asked[1:POPULATION] != asked[: POPULATION - 1]).sum(axis=1)
    assert (apart > 1).any()


def test_parents_are_the_fittest_of_a_sample_with_repetition():
    """The closed form: the parent is among the r fittest with probability 1 - (1 - r / Q) ** S."""
    strategy = RegularisedEvolution(POPULATION, SAMPLE)
    # Members so far apart that a child tells its parent.
    members = np.repeat(np.arange(POPULATION, dtype=np.int32)[:, None], 6, axis=1)
    mask = jnp.ones((6, POPULATION), bool)
    order = np.random.default_rng(0).permutation(POPULATION)
    state = strategy.init(jax.random.key(0), mask)
    tell = jax.jit(strategy.tell)
    for row, score in zip(members, order, strict=True):
        state = tell(state, row[None], Told(np.float32([score]), *[np.zeros(1, np.float32)] * 2))
    keys = jax.random.split(jax.random.key(1), 20_000)
    children = children_of(strategy, state, keys)
    parents = np.median(children, axis=1).astype(int)
    assert ((children != parents[:, None]).sum(axis=1) == 1).all()
    rank = POPULATION - 1 - order[parents]  # zero is the fittest
    found = np.bincount(rank, minlength=POPULATION).cumsum() / len(keys)
    ranks = np.arange(1, POPULATION + 1)
    np.testing.assert_allclose(found, 1 - (1 - ranks / POPULATION) ** SAMPLE, atol=0.012)


def test_it_finds_what_a_plain_program_finds():
    """On a made-up table, 300 seeds each; the difference is held against its standard error."""
    evaluations, seeds = 60, 300
    strategy = RegularisedEvolution(POPULATION, SAMPLE)

    def best(key):
        return run_strategy(strategy, key, jnp.asarray(MASK), judge, evaluations)[1].told.score

    keys = jax.random.split(jax.random.key(5), seeds)
    ours = np.asarray(jax.jit(jax.vmap(best))(keys))[..., 0]
    plain = np.array(
        [
            evolve(random.Random(seed), WIDTHS, lambda a: SCORES[a], evaluations)[1]
            for seed in range(seeds)
        ]
    )
    # The best found, and how good the last ten are on average: selection shows in both.
    for measure in (lambda s: s.max(axis=1), lambda s: s[:, -POPULATION:].mean(axis=1)):
        one, other = measure(ours), measure(plain)
        error = np.hypot(one.std(), other.std()) / np.sqrt(seeds)
        assert abs(one.mean() - other.mean()) < 3 * error
    assert plain[:, -POPULATION:].mean() > SCORES.mean() + 0.5 * SCORES.std()


def test_a_network_over_budget_is_no_parent_while_any_meets_it():
    strategy = RegularisedEvolution(population=4, sample=40)
    state = strategy.init(jax.random.key(0), jnp.asarray(MASK))
    rows = np.repeat(np.arange(4, dtype=np.int32)[:, None], 6, axis=1)
    told = zip(np.float32([9, 1, 8, 7]), np.float32([0.3, 0, np.inf, 0.1]), strict=True)
    tell = jax.jit(strategy.tell)
    for row, (score, excess) in zip(rows, told, strict=True):
        state = tell(state, row[None], Told(score[None], excess[None], np.zeros(1, np.float32)))
    keys = jax.random.split(jax.random.key(1), 50)
    children = children_of(strategy, state, keys)
    assert ((children != 1).sum(axis=1) == 1).all()
