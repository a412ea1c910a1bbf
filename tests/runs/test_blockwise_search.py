"""A block-wise search: blocks side by side, what is found, resuming, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config, override
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.progress import quiet
from hwnas_jax.registry import Part
from hwnas_jax.runs.blockwise_search import (
    _as_found,
    rate_blocks,
    search_by_blocks,
    train_blocks,
    widened,
)
from hwnas_jax.runs.checks import check_methods
from hwnas_jax.runs.population import Member
from hwnas_jax.search.blockwise.block_costs import Best
from hwnas_jax.search.blockwise.options import Blockwise, make_blockwise
from tests.helpers import stripes
from tests.search.blockwise.small import SPACE, TAUGHT, teacher
from tests.search.blockwise.test_block_costs import toy

OPTIONS = Blockwise("somewhere", rating_batches=1, networks=6)
CONFIG = override(
    Config(), search__strategy=Part("blockwise", {"teacher": "somewhere", "rating_batches": 1,
                                                  "networks": 6}),
    search__steps=8, search__warmup_steps=0, search__batch_size=8, search__steps_per_dispatch=2,
    search__checkpoint_every=2, data__shift=0,
)  # fmt: skip
DATA = stripes(8)
MODEL = toy(SPACE, 0.3)
MEMBERS = (
    Member(Target("latency_ms", 8.6), 0, "tight"),
    Member(Target("latency_ms", 9.4, None, (("params", 9.5),)), 0, "loose"),
)


@pytest.fixture(scope="module")
def one():
    """What the blocks learn on one device."""
    return trained(1)


def trained(devices, **changes):
    config = override(CONFIG, parallel__devices=devices)
    options = dataclasses.replace(OPTIONS, **changes)
    return train_blocks(SPACE, DATA, teacher(), options, config, progress=quiet)


def test_blocks_learn_the_same_side_by_side_as_one_after_another(one):
    three = trained(3)
    assert one.number.tolist() == [0, 1, 2] and one.step.tolist() == [8] * 3
    pairs = zip(jax.tree.leaves(one.student), jax.tree.leaves(three.student), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_each_block_changes_its_own_weights_alone(one):
    weights = np.asarray(one.student.weights)
    changed = [weights[k] != weights[(k + 1) % 3] for k in range(3)]
    everywhere = np.logical_or.reduce(changed)
    # A weight that one block learned differs from both other copies, which are still equal.
    assert (np.sum(changed, axis=0)[everywhere] == 2).all()
    owner = [changed[k] & changed[k - 1] for k in range(3)]
    assert all(own.sum() > 50 for own in owner) and np.sum(owner, axis=0).max() == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def found(folder):
    return search_by_blocks(
        SPACE, DATA, MODEL, MEMBERS, override(CONFIG, parallel__devices=1),
        folder=folder, teacher=teacher(), progress=quiet,
    )  # fmt: skip


def test_it_finds_the_lowest_sums_of_rated_losses_within_each_budget(found, folder):
    groups = rate_blocks(
        SPACE, DATA, teacher(), OPTIONS, override(CONFIG, parallel__devices=1),
        name="blocks-seed0", folder=folder, progress=quiet,
    )  # fmt: skip
    every = SPACE.enumerate()
    loss = sum(
        group.loss[[group.rows.tolist().index(r) for r in every[:, list(group.decisions)].tolist()]]
        for group in groups
    )
    costs = jax.vmap(MODEL.predict)(jax.nn.one_hot(every, 3))
    for number, member in enumerate(MEMBERS):
        limits = member.target.limits
        within = np.flatnonzero(np.all([costs[m] <= limits[m] for m in limits], axis=0))
        order = within[np.argsort(loss[within], kind="stable")][:6]
        assert 6 <= len(within) < len(every)
        np.testing.assert_allclose(found.scores[number], -loss[order], rtol=1e-5)
        np.testing.assert_array_equal(found.networks[number], every[order])
        assert (found.excess[number] == 0).all()


def test_resumed_from_a_checkpoint_it_ends_the_same(found, folder):
    again = search_by_blocks(
        SPACE, DATA, MODEL, MEMBERS[:1], override(CONFIG, parallel__devices=1),
        folder=folder, from_step=4, teacher=teacher(), progress=quiet,
    )  # fmt: skip
    np.testing.assert_array_equal(again.networks[0], found.networks[0])
    np.testing.assert_array_equal(again.scores[0], found.scores[0])


def test_a_search_that_found_less_repeats_what_nobody_takes():
    best = [Best(np.arange(count)[:, None], np.arange(count) * 1.0, "", None) for count in (3, 1)]
    found = _as_found(best)
    assert found.networks[..., 0].tolist() == [[0, 1, 2], [0, 0, 0]]
    assert found.excess.tolist() == [[0, 0, 0], [0, np.inf, np.inf]]


def test_the_next_teacher_is_wider():
    assert widened(TAUGHT, 1.5).args == {"channels": 6, "cells": 1}
    assert widened(SPACE, 2.0).args == {**SPACE.args, "width": 0.25}


def test_options_out_of_range_are_refused():
    with pytest.raises(UserError, match="needs teacher"):
        make_blockwise(Part("blockwise"))
    with pytest.raises(UserError, match="loss = 'l2'"):
        make_blockwise(Part("blockwise", {"teacher": "x", "loss": "l2"}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": Part("dual_ascent")}, "met from both sides.*upper_bound"),
        ({"derive__rule": Part("best_by_supernet")}, "asks the supernet of a gradient search"),
        ({"target__measurements": 3}, "target.measurements goes with search.strategy = 'gradient'"),
        ({}, "somewhere"),
    ],
)
def test_what_does_not_go_with_it_is_refused(changes, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        check_methods(override(CONFIG, **changes), SPACE, DATA)
