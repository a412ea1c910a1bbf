"""The contract of strategies: good ones pass, broken ones are told."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.search.strategies import (
    STRATEGIES,
    RandomSearch,
    Told,
    away_from,
    best_so_far,
    fitness,
    mutated,
    no_budget,
    pick,
    random_architectures,
)
from hwnas_jax.search.strategies.base import History
from tests.search.strategies.strategy_contract import MASK, check_contract

# The contract runs every strategy seven times, and what it learns does not matter there.
QUICK = {
    "bananas": {"members": 2, "epochs": 2, "pool": 20, "memory": 60},
    "surrogate": {"pool": 40, "memory": 60},
    "front_surrogate": {"pool": 40, "memory": 60},
    "gradient_surrogate": {"starts": 4, "steps": 3, "memory": 60},
    "optuna_gp": {"initial": 23, "tries": 1},
}
NEEDS = {"optuna_tpe": "optuna", "optuna_nsga2": "optuna", "optuna_gp": "torch"}


@pytest.mark.parametrize("name", STRATEGIES)
def test_contract(name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"needs {NEEDS[name]}, of the extra blackbox")
    check_contract(STRATEGIES.make(Part(name, QUICK.get(name, {}))))


def test_contract_of_several_a_round():
    check_contract(STRATEGIES.make(Part("evolution", {"each": 4, "population": 6})))


class Outside(RandomSearch):
    """Takes any option, also those that are switched off."""

    def ask(self, state, key, ahead):
        return jax.random.randint(key, (1, len(state)), 0, state.shape[1])


class Stubborn(RandomSearch):
    """Looks at no key."""

    def ask(self, state, key, ahead):
        return random_architectures(jax.random.key(0), state, 1)


class Flat(RandomSearch):
    """Returns one architecture without the axis of a round."""

    def ask(self, state, key, ahead):
        return super().ask(state, key, ahead)[0]


class Growing(RandomSearch):
    """Keeps every architecture, so that the state has no fixed shape."""

    def tell(self, state, architectures, told):
        return jnp.concatenate([state, state])


class Host(RandomSearch):
    """Decides on the host by what is known only when the program runs."""

    def ask(self, state, key, ahead):
        return random_architectures(key, state, 1 if state.any() else 2)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Outside, "outside the mask"),
        (Stubborn, "the same whatever the key"),
        (Flat, r"ask must return int32\[1, 5\], got int32\[5\]"),
        (Growing, "tell must return a state like that of init"),
        (Host, r"fails on \(5, 4\) options"),
    ],
)
def test_a_broken_strategy_is_told(broken, said):
    with pytest.raises((UserError, AssertionError), match=said):
        check_contract(broken())


def test_a_strategy_from_a_users_file():
    """The file is no part of the package; nothing in the package names it."""
    name = "tests/methods/my_strategy.py:HillClimbing"
    strategy = STRATEGIES.make(Part(name, {"patience": 4}))
    assert dataclasses.asdict(strategy)["patience"] == 4
    check_contract(strategy)
    with pytest.raises(UserError, match=r"(?s)patience = 0 .*greater than"):
        STRATEGIES.make(Part(name, {"patience": 0}))
    with open("tests/methods/my_strategy.py") as file:
        assert len(file.readlines()) < 60


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"population": 0}, "population = 0 must be greater than or equal to 1"),
        ({"samples": 3}, r"unknown option of the strategy evolution 'samples'.*'sample'"),
        ({"each": 11}, "each = 11 children a round do not fit into a population of 10"),
        ({"sample": 2.5}, "sample = 2.5"),
    ],
)
def test_options_that_cannot_be(args, said):
    with pytest.raises(UserError, match=said):
        STRATEGIES.make(Part("evolution", args))


def test_fitness_puts_the_budget_before_the_score():
    told = Told(
        score=jnp.array([-5.0, 9.0, 9.0, jnp.nan, 7.0, 3.0]),
        excess=jnp.array([0.0, 0.5, 0.01, 0.0, jnp.inf, jnp.nan]),
        cost=jnp.zeros(6),
    )
    rank = np.asarray(fitness(told))
    assert rank[0] > rank[2] > rank[1] > rank[4] == rank[3] == rank[5]
    assert rank[0] == -5.0


def test_random_architectures_take_every_allowed_option_equally_often():
    drawn = np.asarray(random_architectures(jax.random.key(0), jnp.asarray(MASK), 20_000))
    for row, column in zip(MASK, drawn.T, strict=True):
        share = np.bincount(column, minlength=len(row)) / len(column)
        np.testing.assert_allclose(share, row / row.sum(), atol=0.015)


def test_a_mutation_changes_one_decision_to_another_allowed_option():
    parent = np.array([2, 1, 1, 0, 3], np.int32)
    keys = jax.random.split(jax.random.key(1), 20_000)
    children = np.asarray(jax.jit(jax.vmap(mutated, (0, None, None)))(keys, parent, MASK))
    assert ((children != parent).sum(axis=1) == 1).all()
    assert MASK[np.arange(5), children].all()
    # The third decision has one option only; the others are drawn equally often, as are options.
    changed = (children != parent).mean(axis=0)
    np.testing.assert_allclose(changed, [0.25, 0.25, 0, 0.25, 0.25], atol=0.015)
    last = children[children[:, 4] != 3, 4]
    np.testing.assert_allclose(np.bincount(last) / len(last), 1 / 3, atol=0.03)


def test_a_place_is_picked_evenly_among_those_allowed():
    allowed = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]], bool)
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = np.asarray(jax.jit(jax.vmap(pick, (0, None)))(keys, allowed))
    share = np.stack([np.bincount(column, minlength=4) for column in drawn.T]) / len(keys)
    expected = [[0, 0.5, 0, 0.5], [1, 0, 0, 0], [0, 0, 0, 1], [0.25] * 4, [1, 0, 0, 0]]
    np.testing.assert_allclose(share, expected, atol=0.015)


def test_what_is_close_to_a_known_architecture_counts_as_no_member():
    known = jnp.array([[0, 1, 2], [-1, -1, -1]])
    rows = jnp.array([[0, 1, 2], [0, 1, 0], [1, 0, 0]])
    for distance, members in ((0, [False, True, True]), (1, [False, False, True])):
        excess = away_from(no_budget, known, distance)(rows).excess
        assert np.isfinite(np.asarray(excess)).tolist() == members


def test_best_so_far_prefers_a_higher_fidelity_only_within_the_budget():
    level = np.array([2, 1, 0, 0, 1])
    excess = np.array([0, 0, 0.2, 0, 0], np.float32)
    score = np.array([9, 5, 8, 1, 7], np.float32)
    rows = np.arange(5)[:, None, None]
    told = Told(score[:, None], excess[:, None], np.zeros((5, 1), np.float32))
    best = best_so_far(History(rows, told, {}, level[:, None]))
    assert np.asarray(best.architectures)[:, 0].tolist() == [0, 1, 1, 3, 3]


def test_a_mutation_without_any_choice_changes_nothing():
    mask = jnp.array([[False, True], [True, False]])
    parent = jnp.array([1, 0])
    children = jax.jit(jax.vmap(mutated, (0, None, None)))(
        jax.random.split(jax.random.key(0), 9), parent, mask
    )
    assert (np.asarray(children) == [1, 0]).all()


def test_best_so_far_takes_the_earliest_of_equals():
    told = Told(
        score=jnp.array([[1.0, 3.0], [3.0, 9.0], [4.0, 2.0]]),
        excess=jnp.array([[0.0, 0.0], [0.0, 0.2], [0.0, 0.0]]),
        cost=jnp.zeros((3, 2)),
    )
    number = jnp.arange(6).reshape(3, 2)
    best = jax.jit(best_so_far)(
        History(number[..., None], told, {"number": number}, jnp.zeros((3, 2), jnp.int32))
    )
    np.testing.assert_array_equal(best.metrics["number"], [0, 1, 1, 1, 4, 4])
    np.testing.assert_array_equal(best.architectures[:, 0], [0, 1, 1, 1, 4, 4])
