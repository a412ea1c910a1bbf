"""Which networks a profile measures."""

import numpy as np
import pytest

from hwnas_jax.cost.measure.design import choose_networks, usual_count
from hwnas_jax.cost.models.gaussian_regression import expected_logs
from hwnas_jax.cost.models.interaction_kernel import make_kernel
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.published import fbnet
from tests.cost.toy import CuttableSpace, ToySpace

CELLS = make_space(
    "nasbench201", {"channels": 8, "cells": 1}, input_shape=(8, 8, 1), num_outputs=10
)


def chosen(space, count, held_out=0, seed=0):
    return choose_networks(space, count, held_out, np.random.default_rng(seed))


@pytest.mark.parametrize(
    "space", [ToySpace(), CuttableSpace(), CELLS, fbnet()], ids=lambda space: type(space).__name__
)
def test_networks_are_distinct_and_every_option_is_in_one(space):
    count = usual_count(space)
    rows = chosen(space, count, 6)
    assert rows.shape == (count + 6, space.num_decisions)
    assert space.feasible(rows).all()
    assert len(np.unique(space.canonical(rows), axis=0)) == count + 6
    has = np.eye(space.num_options, dtype=bool)[rows[:count]].any(axis=0)
    np.testing.assert_array_equal(has, space.mask)


def variance_left(space, rows, asked):
    """Returns the mean posterior variance of `asked` after measuring `rows`, by linear algebra."""
    kernel = make_kernel(space, None, tabulated=True)
    variances = np.exp(expected_logs(kernel.names))
    own = kernel.weighted(variances, rows, rows) + 0.02**2 * np.eye(len(rows))
    across = kernel.weighted(variances, asked, rows)
    prior = variances @ kernel.diagonal(asked)
    return (prior - (across * np.linalg.solve(own, across.T).T).sum(axis=1)).mean()


def test_the_chosen_leave_less_variance_than_random_ones():
    asked = CELLS.random(np.random.default_rng(9), 400)
    ours = np.mean([variance_left(CELLS, chosen(CELLS, 20, seed=s), asked) for s in range(3)])
    others = [
        variance_left(CELLS, CELLS.random(np.random.default_rng(seed), 20), asked)
        for seed in range(10)
    ]
    assert ours < np.min(others)


def test_the_first_after_coverage_is_the_one_of_least_variance_left():
    """Against trying every candidate."""
    space = ToySpace()
    rows = chosen(space, 10, seed=4)
    every = space.enumerate()
    before = rows[:9]
    assert np.eye(3, dtype=bool)[before].any(axis=0)[space.mask].all()
    left = [variance_left(space, np.vstack([before, row]), every) for row in every]
    assert variance_left(space, rows, every) == pytest.approx(min(left), rel=1e-9)


def test_a_network_without_a_path_comes_first():
    for seed in range(3):
        first = chosen(CELLS, 2, seed=seed)[:1]
        assert (CELLS.canonical(first) == 0).all()


def test_held_out_networks_are_uniform_draws():
    rows = np.concatenate([chosen(ToySpace(), 8, 20, seed)[8:] for seed in range(60)])
    for decision, options in enumerate(ToySpace.decisions):
        share = np.bincount(rows[:, decision], minlength=3)[: len(options.options)] / len(rows)
        assert np.abs(share - 1 / len(options.options)).max() < 0.06


def test_a_space_with_too_few_networks_gives_all_of_them():
    space = ToySpace().restricted({"block*": ("wide",), "last": ("wide",)})
    rows = chosen(space, 10, 12)
    assert len(rows) == 16 and len(np.unique(rows, axis=0)) == 16
    assert len(chosen(space, 40, 12)) == 16


def test_how_many_networks_a_space_takes():
    assert usual_count(ToySpace()) == 24
    assert usual_count(CELLS) == 6 * 4
    assert usual_count(fbnet()) == 64
    macro = make_space("nasbench_macro", {}, input_shape=(16, 16, 3), num_outputs=10)
    assert usual_count(macro) == 24
