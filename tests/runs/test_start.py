"""A search that asks and tells, begun with what a finished search found."""

import dataclasses
import shutil

import numpy as np
import pytest

from hwnas_jax.budgets import UpperBound
from hwnas_jax.config import Config, override
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.population import Member
from hwnas_jax.runs.run import Run
from hwnas_jax.runs.start import Start, check_start, start_of
from hwnas_jax.runs.strategy_search import search_by_strategy
from hwnas_jax.runs.wanted import Wanted
from hwnas_jax.search.candidates import bounded_costs
from tests.tabular.tables import cell_arrays, small_table


@pytest.fixture(scope="module")
def finished(finished_run):
    return Run.open(finished_run)


def begun(run, **changes):
    """Returns the config of an evolution that begins with the run's networks."""
    return override(
        run.config, search__start_from=str(run.folder), search__rounds=12,
        search__strategy=Part("evolution", {"population": 5}), budget=Part("upper_bound"),
        **changes,
    )  # fmt: skip


def test_the_networks_are_the_most_probable_of_the_budget(finished):
    member = Member(finished.target, finished.config.seed, "search")
    start = start_of(finished.space, finished.cost_model, [member], begun(finished))
    found = Found.load(finished.folder, finished.space, 1)
    np.testing.assert_array_equal(start.weights, found.weights)
    # Every cell's probability by its own product, summed over those that build one network.
    space, share, prior = finished.space, found.probabilities[0], found.prior
    cells = space.enumerate()
    costs = bounded_costs(space, finished.cost_model, member.target, cells)[1]
    meets = UpperBound().meets(costs, member.target.limits)
    mass: dict[tuple, np.ndarray] = {}
    for cell, form, fits in zip(cells, space.canonical(cells), meets, strict=True):
        if fits:
            each = [np.prod(p[np.arange(6), cell], dtype=float) for p in (share, prior)]
            mass[tuple(form)] = mass.get(tuple(form), 0) + np.array(each)
    ratio = {form: own / before for form, (own, before) in mass.items()}
    best = sorted(ratio.values(), reverse=True)[:5]
    np.testing.assert_allclose([ratio[tuple(n)] for n in start.networks[0]], best, rtol=1e-4)


def test_a_strategy_is_told_them_first_and_keeps_them(finished, tmp_path):
    table = small_table(tmp_path / "table.npz")
    config = begun(finished, search__evaluator=Part("table", {"path": str(table)}))
    member = Member(finished.target, finished.config.seed, "search")
    given = start_of(finished.space, finished.cost_model, [member], config)
    assert given.weights is None  # a table judges

    def searched(config):
        return search_by_strategy(
            finished.space, finished.dataset, finished.cost_model, [member], config,
            folder=tmp_path,
        ).networks[0]  # fmt: skip

    asked = searched(config)
    np.testing.assert_array_equal(asked[:5], given.networks[0])
    assert ((asked[5] != asked[:5]).sum(axis=1) == 1).any()  # the next is a child of one of them
    # The run keeps what it began with: it goes on when the other is gone.
    shutil.rmtree(tmp_path / "checkpoints")
    gone = override(config, search__start_from=str(tmp_path / "gone"))
    np.testing.assert_array_equal(searched(gone), asked)
    np.testing.assert_array_equal(Start.load(tmp_path, finished.space, 1).networks, given.networks)


def test_a_start_that_cannot_be(finished):
    config, space = begun(finished), finished.space
    check_start(config, space)
    check_start(override(config, search__start_from=None), space)
    with pytest.raises(UserError, match=r"'random' cannot begin with .*evolution, .*nsga2.* can"):
        check_start(override(config, search__strategy=Part("random")), space)
    with pytest.raises(UserError, match="'gradient' cannot begin with"):
        check_start(override(config, search__strategy=Part("gradient")), space)
    with pytest.raises(UserError, match="is no run folder"):
        check_start(override(config, search__start_from="nowhere"), space)
    other = space.restricted({space.decisions[0].name: [space.decisions[0].options[0]]})
    with pytest.raises(UserError, match="this run searches"):
        check_start(config, other)
    with pytest.raises(UserError, match="all options of the data must be the same"):
        check_start(override(config, data__shift=3), space)
    seed = finished.config.seed + 1
    member = Member(finished.target, seed, "search")
    with pytest.raises(UserError, match=f"no search with seed {seed}; its seeds are {seed - 1}"):
        start_of(space, finished.cost_model, [member], dataclasses.replace(config, seed=seed))


SMALL = override(
    Config(), space__args={"channels": 2, "cells": 1}, parallel__devices=1,
    cost__model=Part("analytic"), target__metric="macs",
    search__strategy=Part("evolution", {"population": 3}),
)  # fmt: skip
ROWS = np.array([[3, 1, 0, 2, 4, 1], [1, 1, 1, 1, 1, 1]])


def test_architectures_from_python_in_any_form_are_a_start(tmp_path, monkeypatch):
    monkeypatch.setenv("HWNAS_DATA", str(tmp_path))
    small_table(tmp_path / "nb201_accuracy.npz")
    third = 4 - cell_arrays()["ops"][7].astype(int)
    made = Run.create(SMALL, tmp_path / "array", start=ROWS)
    np.testing.assert_array_equal(Start.load(made.folder, made.space, 1).networks, ROWS[None])
    space = made.space
    forms = [str(ROWS[0].tolist()), space.to_names(ROWS[1]), "7"]
    wanted = Wanted(percentiles=(30.0, 60.0), seeds=(0, 1))
    swept = Run.create(SMALL, tmp_path / "forms", start=forms, wanted=wanted)
    start = Start.load(swept.folder, space, 4)
    np.testing.assert_array_equal(start.networks, [[*ROWS, third]] * 4)
    assert start.weights is None


def test_a_strategy_is_told_given_architectures_first(tmp_path):
    table = small_table(tmp_path / "table.npz")
    evaluator = Part("table", {"path": str(table)})
    config = override(SMALL, search__evaluator=evaluator, search__rounds=4, search__batch_size=8)
    run = Run.create(config, tmp_path / "run", start=ROWS)
    found = search_by_strategy(
        run.space, run.dataset, run.cost_model, run.resolve_targets(), run.config,
        folder=run.folder,
    )  # fmt: skip
    np.testing.assert_array_equal(found.networks[0][:2], ROWS)


@pytest.mark.parametrize(
    ("start", "changes", "said"),
    [
        ([[3, 1, 0]], {}, "3 numbers of options, an architecture of nasbench201 has 6"),
        (ROWS.astype(float), {}, "is no architecture: give a text in the notation"),
        (ROWS[0], {}, "3.* is no architecture: give several of them"),
        ([[9, 1, 0, 2, 4, 1]], {}, "1<-0 has the options 0 to 4, got 9"),
        ([], {}, "no architecture was given"),
        (np.zeros((2, 6), int), {}, "start names the network .* twice"),
        ([[0, 0, 0, n, 0, 0] for n in range(1, 5)], {}, "start has 4 .* begins with at most 3"),
        (ROWS, {"search__strategy": Part("random")}, "'random' cannot begin with given arch.* can"),
        (ROWS, {"search__strategy": Part("gradient")}, "'gradient' cannot begin with given"),
        (["|nor_conv|"], {}, "is no nasbench201 cell"),
    ],
)
def test_a_start_from_python_that_cannot_be(tmp_path, start, changes, said):
    with pytest.raises(UserError, match=f"(?s){said}"):
        Run.create(override(SMALL, **changes), tmp_path / "run", start=start)
    assert not (tmp_path / "run").exists()


def test_two_starts_are_one_too_many(finished, tmp_path):
    with pytest.raises(UserError, match=r"give either start, .* or search\.start_from"):
        Run.create(begun(finished), tmp_path / "run", start=ROWS)
