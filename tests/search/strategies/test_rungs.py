"""Successive halving and Hyperband against their plain algorithms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.search.evaluators import Bench, SharedWeights, check_fidelities
from hwnas_jax.search.strategies import (
    STRATEGIES,
    Hyperband,
    RandomSearch,
    SuccessiveHalving,
    Told,
    run_strategy,
)
from hwnas_jax.tasks import Classification
from tests.search.dense import SPACE

MASK = np.ones((6, 4), bool)
SCORES = np.random.default_rng(0).normal(size=(3, 4, 6, 4)).astype(np.float32)[:, 0]


def score_of(rows, level):
    return jnp.asarray(SCORES)[level, jnp.arange(6), rows].sum(axis=-1)


def judge(rows, fidelity, key):
    return Told(score_of(rows, fidelity), *[jnp.zeros(len(rows))] * 2), {}


def searched(strategy, rounds):
    run = jax.jit(lambda key: run_strategy(strategy, key, jnp.asarray(MASK), judge, rounds)[1])
    history = run(jax.random.key(0))
    return np.asarray(history.architectures)[:, 0], np.asarray(history.fidelity)[:, 0]


def follow(rows, levels, rungs):
    """Holds what was asked against a bracket by hand; returns what is left."""
    best = None
    for level, size in rungs:
        own, rows = rows[:size], rows[size:]
        assert (levels[:size] == level).all()
        levels = levels[size:]
        if best is not None:
            np.testing.assert_array_equal(own, best[:size])
        assert len(np.unique(own, axis=0)) == size, "evaluates an architecture twice"
        best = own[np.argsort(-np.asarray(score_of(own, level)), kind="stable")]
    return rows, levels


def test_the_best_of_every_rung_go_on():
    strategy = SuccessiveHalving(fidelities=3, eta=3, start=14)
    rows, levels = searched(strategy, 2 * (14 + 4 + 1))
    first = rows[:14].tolist()
    for _ in range(2):
        rows, levels = follow(rows, levels, [(2, 14), (1, 4), (0, 1)])
        assert rows[:14].tolist() != first  # the next bracket has new ones
    assert not len(rows)


def test_hyperband_begins_in_turn_from_every_fidelity():
    """The published brackets for three fidelities and eta = 3: 9, 5 and 3 architectures."""
    strategy = Hyperband(fidelities=3, eta=3)
    rows, levels = searched(strategy, 9 + 3 + 1 + 5 + 1 + 3)
    for rungs in ([(2, 9), (1, 3), (0, 1)], [(1, 5), (0, 1)], [(0, 3)]):
        rows, levels = follow(rows, levels, rungs)
    assert not len(rows)


def test_the_brackets_are_those_of_algorithm_1():
    """Worked out by hand for R = 81 and eta = 3, which are five fidelities."""
    brackets = Hyperband(fidelities=5, eta=3).brackets
    assert [[rung.size for rung in rungs] for rungs in brackets] == [
        [81, 27, 9, 3, 1], [34, 11, 3, 1], [15, 5, 1], [8, 2], [5],
    ]  # fmt: skip


def test_too_few_architectures_are_refused():
    with pytest.raises(UserError, match=r"start = 8 .* 3 fidelities .* must be at least 9"):
        STRATEGIES.make(Part("successive_halving", {"start": 8, "fidelities": 3}))


def test_more_fidelities_than_the_evaluator_has_are_refused():
    bench = Bench(SPACE, Classification())
    said = r"strategy hyperband evaluates at 2 fidelities, .*evaluator supernet has 1"
    with pytest.raises(UserError, match=said):
        check_fidelities(Hyperband(), SharedWeights(), bench)
    check_fidelities(Hyperband(fidelities=1), SharedWeights(), bench)
    check_fidelities(RandomSearch(), SharedWeights(), bench)
