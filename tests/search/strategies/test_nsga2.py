"""NSGA-II against plain sorting and crowding, and on a toy whose front is known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.search.strategies import NSGA2, STRATEGIES, Told, run_strategy
from hwnas_jax.search.strategies.nsga2 import crowding, front_numbers, known


def beats(one, other):
    """The definition, for `(score, excess, cost)`."""
    if one[1] != other[1]:
        return one[1] < other[1]
    no_worse = one[0] >= other[0] and one[2] <= other[2]
    return no_worse and (one[0] > other[0] or one[2] < other[2])


def plain_fronts(rows):
    left, fronts, number = set(range(len(rows))), np.zeros(len(rows), int), 0
    while left:
        front = {i for i in left if not any(beats(rows[j], rows[i]) for j in left)}
        fronts[list(front)] = number
        left, number = left - front, number + 1
    return fronts


def plain_crowding(values, fronts):
    total = np.zeros(len(values))
    for front in set(fronts):
        members = np.flatnonzero(fronts == front)
        for column in values.T:
            order = members[np.argsort(column[members], kind="stable")]
            span = np.ptp(column[members]) or 1.0
            total[order[[0, -1]]] = np.inf
            for before, own, after in zip(order, order[1:], order[2:], strict=False):
                total[own] += (column[after] - column[before]) / span
    return total


def told(rng, count):
    """Numbers with ties; a third of them over the budget, some no members at all."""
    score, cost = rng.integers(0, 9, (2, count)).astype(np.float32)
    excess = np.where(rng.random(count) < 0.3, rng.integers(1, 4, count) / 4, 0)
    excess[0], score[1] = np.inf, np.nan
    return Told(score, excess.astype(np.float32), cost)


def test_fronts_and_crowding_are_those_of_the_definitions():
    rng = np.random.default_rng(0)

    @jax.jit
    def ours(told):
        numbers = known(told)
        fronts = front_numbers(numbers)
        return fronts, crowding(jnp.stack([numbers.score, numbers.cost], axis=1), fronts)

    for _ in range(20):
        given = told(rng, 24)
        fronts, apart = map(np.asarray, ours(given))
        lost = np.isnan(given.score) | np.isinf(given.excess)
        score = np.where(np.isnan(given.score), 0, given.score)
        excess = np.where(lost, 1e30, given.excess)
        cost = np.where(np.isnan(given.score), 0, given.cost)
        rows = list(zip(score, excess, cost, strict=True))
        np.testing.assert_array_equal(fronts, plain_fronts(rows))
        assert fronts[:2].min() >= fronts.max() - 1  # no members, so that the others come first
        expected = plain_crowding(np.stack([score, cost], axis=1), fronts)
        # Which of equal values is at an end is free, so fronts without ties are compared.
        for front in set(fronts.tolist()):
            members = fronts == front
            if len(set(score[members])) == len(set(cost[members])) == members.sum():
                np.testing.assert_allclose(apart[members], expected[members], rtol=1e-5)


# The score rises with the options and the cost with their squares, and so the front is where no
# other architecture scores as much for less; one decision only costs.
WIDTH, DECISIONS = 4, 4
EVERY = np.array(list(itertools.product(range(WIDTH), repeat=DECISIONS)), np.int32)


def judged(rows):
    score = rows[:, :3].sum(axis=1) * 1.0
    cost = (rows[:, :3] ** 2).sum(axis=1) + rows[:, 3] * 1.0
    return score, cost


def exact_front(limit):
    score, cost = judged(EVERY)
    points = {(s, c) for s, c in zip(score, cost, strict=True) if c <= limit}
    return {p for p in points if not any(q != p and q[0] >= p[0] and q[1] <= p[1] for q in points)}


LIMITS = (np.inf, 12.0)


@pytest.fixture(scope="module")
def parents():
    """The last parents without a limit and under one, `int32[2, 16, D]`."""
    strategy = NSGA2(population=16, each=8)

    def run(key, limit):
        def judge(rows, fidelity, key):
            score, cost = judged(rows)
            excess = jnp.maximum(cost / limit - 1, 0)
            return Told(*(leaf.astype(jnp.float32) for leaf in (score, excess, cost))), {}

        mask = jnp.ones((DECISIONS, WIDTH), bool)
        return run_strategy(strategy, key, mask, judge, 28)[0].architectures[:16]

    return jax.jit(jax.vmap(run, (None, 0)))(jax.random.key(0), jnp.array(LIMITS))


@pytest.mark.parametrize("number", [0, 1])
def test_it_finds_a_front_that_is_known(parents, number):
    limit = LIMITS[number]
    score, cost = judged(np.asarray(parents[number]))
    found = set(zip(score.tolist(), cost.tolist(), strict=True))
    wanted = exact_front(limit)
    assert len(wanted) > 4
    assert len(wanted & found) >= 0.8 * len(wanted)
    # What 224 random requests find of it is less.
    rng = np.random.default_rng(0)
    score, cost = judged(rng.integers(0, WIDTH, (224, DECISIONS)))
    random = set(zip(score.tolist(), cost.tolist(), strict=True))
    assert len(wanted & random) < len(wanted & found)


def test_without_costs_the_best_are_the_parents():
    """A plain genetic algorithm: the fittest of parents and children survive, the best first."""
    strategy = NSGA2(population=6)
    tell = jax.jit(strategy.tell)
    rng = np.random.default_rng(0)
    state = strategy.init(jax.random.key(0), jnp.ones((3, 5), bool))
    everyone = []
    for number in range(18):
        row = rng.integers(0, 5, (1, 3)).astype(np.int32)
        score = rng.normal(size=1).astype(np.float32)
        state = tell(state, row, Told(score, *[np.zeros(1, np.float32)] * 2))
        everyone.append((float(score[0]), row[0].tolist()))
        if number % 6 == 5:
            everyone = sorted(everyone, reverse=True)[:6]
            assert np.asarray(state.architectures)[:6].tolist() == [row for _, row in everyone]


def test_a_child_takes_every_decision_from_a_parent():
    """Without mutation; the parents are so far apart that a child tells them."""
    strategy = NSGA2(population=4, mutation=0.0, tries=1, crossover=0.5)
    mask = jnp.ones((6, 4), bool)
    state = strategy.init(jax.random.key(0), mask)
    members = np.repeat(np.arange(4, dtype=np.int32)[:, None], 6, axis=1)
    state = state._replace(architectures=state.architectures.at[:4].set(members))
    draw = jax.jit(jax.vmap(lambda key: strategy._child(state, key)))
    children = np.asarray(draw(jax.random.split(jax.random.key(1), 20_000)))
    kinds = np.array([len(set(child)) for child in children.tolist()])
    assert kinds.max() == 2
    # Both are the same parent with probability sum p^2, and p is that of the best of two draws.
    share = np.array([7, 5, 3, 1]) / 16
    alike = (share**2).sum()
    mixed = 0.5 * (1 - alike) * (1 - 2 * 0.5**6)
    assert np.mean(kinds == 2) == pytest.approx(mixed, abs=0.015)
    found = np.bincount(children[:, 0], minlength=4) / len(children)
    np.testing.assert_allclose(found, share, atol=0.015)


def test_a_population_that_rounds_do_not_fill_is_refused():
    with pytest.raises(UserError, match=r"population = 20 must be a multiple of each = 3"):
        STRATEGIES.make(Part("nsga2", {"each": 3}))
