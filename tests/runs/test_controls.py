"""Which networks stand beside a search, against enumeration and counts written down here."""

import itertools

import numpy as np
import pytest

from hwnas_jax.budgets import DualAscent, UpperBound
from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config, override
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.progress import quiet
from hwnas_jax.registry import Part
from hwnas_jax.runs.controls import (
    CONTROLS,
    by_chance,
    by_macs,
    controls_of,
    passes_of_search,
    rule_without_search,
    without_search,
)
from hwnas_jax.search.candidates import within_budget
from hwnas_jax.search.derivation import (
    BestBySupernet,
    Derivation,
    MostProbable,
    Perturbation,
    Searched,
)
from hwnas_jax.spaces import make_space
from tests.helpers import TABLE, TableModel

SPACE = make_space("nasbench201", {"channels": 4, "cells": 1}, input_shape=(8, 8, 1), num_outputs=3)
TARGET = Target("latency_ms", 3.0)
EVEN = np.full((6, 5), 0.2, np.float32)


def among(budget=UpperBound()):  # noqa: B008
    return within_budget(SPACE, TableModel(), TARGET, budget)


@pytest.mark.parametrize("budget", [DualAscent(), UpperBound()], ids=["both-sides", "bound"])
def test_most_macs_are_those_of_the_enumeration(budget):
    """A 3x3 convolution takes nine multiply-adds where a 1x1 takes one, all else takes none."""
    cells = np.array(list(itertools.product(range(5), repeat=6)), np.int32)
    networks = np.unique(SPACE.canonical(cells), axis=0)
    cost = TABLE[np.arange(6), networks].sum(-1)
    least = 0.97 * 3.0 if budget.both_sides else 0.0
    fits = networks[(least <= cost) & (cost <= 3.0)]
    names = np.array(SPACE.decisions[0].options)[fits]
    macs = 9 * (names == "nor_conv_3x3").sum(-1) + (names == "nor_conv_1x1").sum(-1)
    found = among(budget)
    ordered = found.networks[by_macs(found)]
    assert len(ordered) == len(fits)
    names = np.array(SPACE.decisions[0].options)[ordered]
    shown = 9 * (names == "nor_conv_3x3").sum(-1) + (names == "nor_conv_1x1").sum(-1)
    np.testing.assert_array_equal(shown, np.sort(macs)[::-1])


def test_parameters_break_ties():
    counts = {"macs": np.array([5.0, 9.0, 9.0, 5.0]), "params": np.array([1.0, 3.0, 7.0, 2.0])}
    np.testing.assert_array_equal(by_macs(among()._replace(counts=counts)), [2, 1, 3, 0])


def test_random_networks_are_every_network_once():
    found = among()
    orders = [by_chance(found, seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    np.testing.assert_array_equal(np.sort(orders[0]), np.arange(len(found.networks)))


def searched():
    """What a search left; nobody may ask its weights."""

    def never(*_):
        raise AssertionError("a control has no weights to ask")

    peaked = np.where(np.arange(5) == 3, 0.6, 0.1).astype(np.float32).repeat(6).reshape(5, 6).T
    known = {"probabilities": peaked, "prior": EVEN, "weights": np.ones(3),
             "metric": "accuracy", "higher_is_better": True}  # fmt: skip
    return Searched(**{**dict.fromkeys(Searched._fields, never), **known})


def test_without_a_search_a_ratio_has_nothing_to_go_by():
    """What the search found does not matter, and the order is that of the random networks."""
    found = among(DualAscent())
    found = found._replace(log_probability=np.linspace(-9, -1, len(found.networks)))
    rows = without_search(MostProbable(), found, searched(), quiet, seed=4)
    np.testing.assert_array_equal(rows, by_chance(found, seed=4))


def test_without_a_search_probability_prefers_what_many_architectures_build():
    """Where a rule goes by probability itself; by enumeration of the cells of each network."""
    found = among(DualAscent())
    cells = np.array(list(itertools.product(range(5), repeat=6)), np.int32)
    built = {}
    for network in SPACE.canonical(cells).tolist():
        built[tuple(network)] = built.get(tuple(network), 0) + 1
    rows = without_search(MostProbable(relative=False), found, searched(), quiet, seed=4)
    counts = [built[tuple(network)] for network in found.networks[rows].tolist()]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]
    # Equals come in another order for another seed, so no network is preferred for its place.
    others = without_search(MostProbable(relative=False), found, searched(), quiet, seed=5)
    assert (rows != others).any()


def test_a_rule_is_handed_what_the_search_began_with():
    seen = {}

    class Looking(Derivation):
        name = summary = "looking"

        def order(self, candidates, searched, progress, *, seed):
            seen.update(searched._asdict(), candidates=candidates)
            return np.arange(2)

    found = among(DualAscent())
    rows = without_search(Looking(), found, searched(), quiet, seed=1)
    np.testing.assert_array_equal(rows, by_chance(found, seed=1)[:2])
    assert seen["weights"] is None
    np.testing.assert_array_equal(seen["probabilities"], EVEN)
    np.testing.assert_array_equal(seen["candidates"].networks[:2], found.networks[rows])
    np.testing.assert_array_equal(seen["candidates"].predicted["predicted"][:2],
                                  found.predicted["predicted"][rows])  # fmt: skip


@pytest.mark.parametrize("rule", [BestBySupernet(), Perturbation()])
def test_a_rule_that_asks_the_supernet_gives_way(rule):
    taken, note = rule_without_search(rule)
    assert taken == MostProbable()
    assert rule.name in note and "'most_probable' takes its place" in note
    assert rule_without_search(MostProbable(relative=False)) == (MostProbable(relative=False), "")


@pytest.mark.parametrize(
    ("relaxation", "estimator", "passes"),
    [
        ("sampled_path", "backprop", 100 + 40),
        ("gumbel_softmax", "backprop", 5 * (100 + 40)),
        ("gumbel_softmax", "reinforce", 5 * 100 + 40),
    ],
)
def test_a_search_costs_as_many_passes_as_its_paths_and_options(relaxation, estimator, passes):
    config = override(
        Config(), search__steps=100, search__warmup_steps=60,
        search__relaxation=Part(relaxation), search__estimator=Part(estimator),
    )  # fmt: skip
    assert passes_of_search(config, SPACE) == passes


def test_which_controls_a_run_has():
    asked = Part("random", {"each": 4})
    assert controls_of(Config(), several=False) == CONTROLS
    assert controls_of(Config(), several=True) == ()
    strategy = override(Config(), search__strategy=asked)
    assert controls_of(strategy, several=False) == ("random", "most_macs")
    for names in ((), ("most_macs",)):
        config = override(Config(), derive__controls=names)
        assert controls_of(config, several=False) == controls_of(config, several=True) == names
    with pytest.raises(UserError, match=r"no_search derives from where .* allowed are random, m"):
        controls_of(override(strategy, derive__controls=("no_search",)), several=False)
