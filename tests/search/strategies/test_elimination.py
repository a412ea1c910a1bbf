"""Elimination: how often options are seen, what is dropped, and what a budget keeps."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.budgets import UpperBound
from hwnas_jax.budgets.target import Target
from hwnas_jax.cost import AnalyticModel, predict_architectures
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.search.evaluators import make_ahead
from hwnas_jax.search.outlook import outlook_of
from hwnas_jax.search.strategies import STRATEGIES, Elimination, Told, no_budget, one_round
from hwnas_jax.search.strategies.elimination import bounds_of
from hwnas_jax.search.strategies.repair import best_within_budget
from hwnas_jax.spaces import make_space
from tests.search.strategies.limited import limited
from tests.search.strategies.strategy_contract import MASK

EVEN = np.ones((3, 4), bool)
MASKS = {"even": EVEN, "uneven": MASK, "single": np.eye(4, dtype=bool)[:3]}
WORTH = np.random.default_rng(3).permutation(20).reshape(5, 4).astype(np.float32)


def worth_of(rows):
    """Adds up what each option is worth."""
    return jnp.asarray(WORTH)[jnp.arange(rows.shape[1]), rows].sum(axis=-1)


def searched(strategy, mask, judge, ahead=no_budget, seed=0, after=2):
    """Returns what was asked, `int[R, D]`, and what was alive before each round and at the end."""
    rounds = strategy.phases(mask)[-1] + after
    key = jax.random.key(seed)

    @jax.jit
    def run(key):
        one = one_round(strategy, key, judge, ahead)

        def go(state, number):
            after, history = one(state, number)
            return after, (history.architectures[0], state.alive)

        state, rest = jax.lax.scan(go, strategy.init(key, jnp.asarray(mask)), jnp.arange(rounds))
        return *rest, state.alive

    asked, alive, last = map(np.asarray, run(key))
    return asked, np.concatenate([alive, last[None]])


def judged(rows, fidelity, key):
    del fidelity, key
    zeros = jnp.zeros(len(rows))
    return Told(worth_of(rows), zeros, zeros), {}


@pytest.mark.parametrize("name", MASKS)
def test_one_option_less_of_every_decision_until_one_is_left(name):
    """The lowest mean goes each time; counted against the scores told since the beginning."""
    mask, strategy = MASKS[name], Elimination(samples=3, bound=0.0, memory=1.0)
    asked, alive = searched(strategy, mask, judged)
    phases = strategy.phases(mask)
    widths = mask.sum(axis=1)
    assert len(phases) == widths.max()
    before = mask
    for number, first in enumerate(phases):
        left = alive[first]
        np.testing.assert_array_equal(left.sum(axis=1), np.maximum(widths - number, 1))
        if not number:
            continue
        np.testing.assert_array_equal(alive[first - 1], before)
        draws = np.concatenate([asked[a : b - 1] for a, b in itertools.pairwise(phases)])
        draws = draws[: first - number]
        scores = np.asarray(worth_of(draws))
        for decision in np.flatnonzero(before.sum(axis=1) > 1):
            means = {
                option: scores[draws[:, decision] == option].mean()
                for option in np.flatnonzero(before[decision])
            }
            assert not left[decision, min(means, key=means.get)]
        before = left
    survivor = alive[-1].argmax(axis=1)
    np.testing.assert_array_equal(asked[phases[-1] :], [survivor] * 2)


@pytest.mark.parametrize("name", ["even", "uneven"])
def test_options_are_seen_equally_often(name):
    mask, strategy = MASKS[name], Elimination(samples=3)
    asked, alive = searched(strategy, mask, judged)
    for first, end in itertools.pairwise(strategy.phases(mask)):
        draws, left = asked[first : end - 1], alive[first]
        widest = left.sum(axis=1).max()
        assert len(draws) == 3 * widest
        for column, options in zip(draws.T, left, strict=True):
            seen = np.bincount(column, minlength=len(options))
            assert not seen[~options].any()
            assert np.ptp(seen[options]) <= (0 if options.sum() == widest else 1)
            # None comes again before all of them came.
            for pass_ in range(len(column) // options.sum()):
                own = column[pass_ * options.sum() : (pass_ + 1) * options.sum()]
                assert len(set(own.tolist())) == options.sum()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_best_option_survives_where_nothing_disturbs_it(seed):
    """One option of each decision is worth more than all else together."""
    planted = np.array([2, 1, 1, 0, 3])

    def judge(rows, fidelity, key):
        del fidelity, key
        zeros = jnp.zeros(len(rows))
        return Told(worth_of(rows) + 100.0 * (rows == planted).sum(axis=-1), zeros, zeros), {}

    asked, _ = searched(Elimination(), MASK, judge, seed=seed)
    np.testing.assert_array_equal(asked[-1], planted)
    lost = searched(Elimination(drop="random"), MASK, judge, seed=seed)[0]
    assert (lost[-1] != planted).any()


def told_by_hand(strategy, scores):
    """Returns the state after each option of one decision was told some scores."""
    state = strategy.init(jax.random.key(0), jnp.ones((1, len(scores)), bool))
    tell = jax.jit(strategy.tell)
    for option, own in enumerate(scores):
        for score in own:
            zero = jnp.zeros(1)
            row = jnp.full((1, 1), option, jnp.int32)
            state = tell(state, row, Told(jnp.array([score], jnp.float32), zero, zero))
    return state


def test_bounds_are_the_usual_ones():
    scores = [[0.5, 0.7, 0.6], [0.9, 0.1], [0.4]]
    state = told_by_hand(Elimination(samples=50), scores)
    spread = np.std(np.concatenate(scores))
    wanted = [np.mean(own) + spread * np.sqrt(2 * np.log(6) / len(own)) for own in scores]
    np.testing.assert_allclose(bounds_of(state, 1.0)[0], wanted, rtol=1e-5)
    means = [np.mean(own) for own in scores]
    np.testing.assert_allclose(bounds_of(state, 0.0)[0], means, rtol=1e-5)


@pytest.mark.parametrize(("bound", "dropped"), [(0.0, 1), (1.0, 0)])
def test_a_bound_keeps_an_option_that_could_be_judged_once_only(bound, dropped):
    """Its one score is bad luck; that of which more is known goes in its place."""
    none = float("nan")
    scores = [[0.5, 0.4, 0.6, 0.5], [none, none, 0.4, none], [0.9, 0.7, 0.8, 0.8]]
    strategy = Elimination(samples=4, bound=bound)
    state = told_by_hand(strategy, scores)
    assert np.asarray(state.scores)[0].tolist() == [4, 1, 4]
    zero = jnp.zeros(1)
    ask = jax.jit(lambda state, key: strategy.ask(state, key, no_budget))
    promising = ask(state._replace(place=jnp.int32(12)), jax.random.key(0))
    assert promising.tolist() == [[2]]
    after = jax.jit(strategy.tell)(state, promising, Told(zero, zero, zero))
    alive = np.asarray(after.alive)[0]
    assert np.flatnonzero(~alive).tolist() == [dropped]


def test_what_could_never_be_judged_goes_first():
    none = float("nan")
    strategy = Elimination(samples=1, bound=1.0)
    state = told_by_hand(strategy, [[0.1], [none], [0.9]])
    zero = jnp.zeros(1)
    best = jnp.array([[2]], jnp.int32)
    alive = jax.jit(strategy.tell)(state, best, Told(zero, zero, zero)).alive
    assert np.asarray(alive)[0].tolist() == [True, False, True]


def test_what_is_known_to_fit_is_asked_for_where_no_change_leads_to_one():
    """Only one architecture fits, and it differs from the most promising in every decision."""
    strategy, only = Elimination(samples=1), jnp.array([3, 3, 3], jnp.int32)

    def ahead(rows):
        outlook = no_budget(rows)
        return outlook._replace(excess=1.0 - (rows == only).all(axis=1))

    state = strategy.init(jax.random.key(0), jnp.asarray(EVEN))
    state = state._replace(
        scores=jnp.ones((3, 4)), mean=-jnp.arange(12.0).reshape(3, 4), place=jnp.int32(4)
    )
    ask = jax.jit(lambda state: strategy.ask(state, jax.random.key(1), ahead))
    assert ask(state).tolist() == [[0, 0, 0]]
    assert ask(state._replace(held=only, holds=jnp.array(True))).tolist() == [[3, 3, 3]]


COSTS = np.array([[0.0, 1.0, 2.0, 4.0], [0.5, 1.0, 3.0, 3.5], [0.0, 2.0, 2.5, 3.0]], np.float32)


@pytest.mark.parametrize("limit", [0.5, 2.0, 6.0])
def test_an_architecture_within_the_budget_is_always_left(limit):
    """What costs most is worth most, so that the scores alone would drop all that fits."""
    ahead, judge = limited(
        COSTS, limit, lambda rows: jnp.asarray(COSTS)[jnp.arange(3), rows].sum(axis=-1)
    )
    asked, alive = searched(Elimination(samples=2), EVEN, judge, ahead)
    for left in alive:
        cheapest = np.where(left, COSTS, np.inf).min(axis=1).sum()
        assert cheapest <= limit
    cost = COSTS[np.arange(3), asked].sum(axis=1)
    assert (cost <= limit + 1e-6).all()
    # With all the room, the dearest is found; with none, the only one that fits.
    every = np.array(list(itertools.product(range(4), repeat=3)))
    sums = COSTS[np.arange(3), every].sum(axis=1)
    assert cost[-1] >= 0.75 * sums[sums <= limit].max()


def test_binary_cells_keep_a_size_and_bit_operations():
    """Two limits at once; what is worth most costs most, so that both bind."""
    space = make_space(
        "bnas", {"channels": 4, "cells": 1}, input_shape=(8, 8, 1), num_outputs=3
    )  # fmt: skip
    model, every = AnalyticModel.count(space), space.enumerate()
    costs = predict_architectures(model, every, space.num_options)
    limits = {
        name: float(np.percentile(costs[name], 30)) for name in ("size_kib", "bit_operations")
    }
    target = Target("size_kib", limits["size_kib"], others=tuple(limits.items())[1:])
    ahead = make_ahead(space, outlook_of(model, target, UpperBound(), space.num_options))

    def judge(rows, fidelity, key):
        del fidelity, key
        outlook = ahead(rows)
        return Told(outlook.cost, outlook.excess, outlook.cost), {}

    asked, alive = searched(Elimination(samples=2), space.mask, judge, ahead)
    own = predict_architectures(model, asked, space.num_options)
    fits = np.ones(len(every), bool)
    for name, limit in limits.items():
        assert (own[name] <= limit * (1 + 1e-6)).all()
        fits &= costs[name] <= limit
    assert (alive[-1].argmax(axis=1) == asked[-1]).all()
    assert own["size_kib"][-1] >= 0.8 * costs["size_kib"][fits].max()


def test_the_best_within_a_budget_is_that_of_all_for_costs_that_add_up():
    """Against all 64, where an option is worth what it costs or has a value of its own."""
    every = np.array(list(itertools.product(range(4), repeat=3)))
    sums = COSTS[np.arange(3), every].sum(axis=1)
    ahead = {limit: limited(COSTS, limit, worth_of)[0] for limit in (0.5, 3.0, 5.0, 20.0)}
    shares = []
    for seed, (limit, look) in enumerate(ahead.items()):
        values = np.random.default_rng(seed).uniform(size=(3, 4)).astype(np.float32)
        find = jax.jit(lambda values, look=look: best_within_budget(values, jnp.array(EVEN), look))
        row, excess = find(values)
        assert excess == 0
        total = values[np.arange(3), every].sum(axis=1)
        shares.append(values[np.arange(3), row].sum() / total[sums <= limit].max())
    assert shares[0] == shares[-1] == pytest.approx(1.0)
    assert min(shares) > 0.8


def test_what_no_option_allows_is_come_near_to():
    ahead, _ = limited(COSTS, 0.25, worth_of)
    row, excess = best_within_budget(jnp.zeros((3, 4)), jnp.array(EVEN), ahead)
    assert row.tolist() == [0, 0, 0]
    assert float(excess) == pytest.approx(1.0)


def test_the_last_is_evaluated_at_the_highest_fidelity():
    strategy = Elimination(samples=1, fidelities=2)
    state = strategy.init(jax.random.key(0), jnp.asarray(EVEN))
    assert int(strategy.fidelity(state)) == 1
    last = state._replace(alive=jnp.asarray(MASKS["single"]))
    assert int(strategy.fidelity(last)) == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"samples": 0}, "samples = 0 must be greater than or equal to 1"),
        ({"drop": "best"}, "drop = 'best'"),
        ({"memory": 1.5}, "memory = 1.5"),
        ({"fidelities": 3}, "fidelities = 3"),
    ],
)
def test_options_that_cannot_be(args, said):
    with pytest.raises(UserError, match=said):
        STRATEGIES.make(Part("elimination", args))
