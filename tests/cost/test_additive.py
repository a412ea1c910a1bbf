import jax
import numpy as np
import pytest

from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.models.additive import Features, fit_additive
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.base import Choices, Decision
from tests.cost.toy import CuttableSpace, ToySpace, synthetic

PLAIN = Choices("plain", (Decision("a", ("x", "y", "z")), Decision("b", ("x", "y"))))


def _cells():
    return make_space(
        "nasbench201", {"channels": 4, "cells": 1}, input_shape=(8, 8, 1), num_outputs=10
    )


@pytest.mark.parametrize("make", [lambda: PLAIN, ToySpace, CuttableSpace, _cells])
def test_the_expected_features_are_the_mean_over_all_architectures(make):
    space = make()
    features = Features(space)
    every = space.enumerate()
    rng = np.random.default_rng(0)
    expected = jax.jit(features.expected)
    for concentration in (0.3, 3.0):
        weight = rng.dirichlet(np.full(space.num_options, concentration), space.num_decisions)
        weight = np.where(space.mask, weight, 0)
        weight /= weight.sum(axis=1, keepdims=True)
        share = weight[np.arange(space.num_decisions), every].prod(axis=1)
        mean = share @ features.observed(every)
        np.testing.assert_allclose(expected(weight.astype(np.float32)), mean, atol=2e-6)


def test_features_say_what_stands_and_what_is_left():
    space = _cells()
    cut = np.array([[0, 0, 3, 0, 0, 3], [1, 0, 0, 0, 0, 1]])
    row = Features(space).observed(cut)
    assert row.shape == (2, 61)
    assert row[0, [2 * 5 + 3, 5 * 5 + 3]].tolist() == [1, 1]
    # The first cell has no path from input to output: its canonical form is all `none`.
    assert row[0, 30:60].reshape(6, 5)[:, 0].tolist() == [1] * 6
    assert row[:, 60].tolist() == [0, 0]
    connected = Features(space).observed(np.array([[1, 0, 0, 1, 0, 0]]))
    assert connected[0, 30:60].reshape(6, 5).argmax(axis=1).tolist() == [0, 0, 0, 1, 0, 0]
    assert connected[0, 60] == 1


@pytest.mark.parametrize("make", [lambda: PLAIN, ToySpace, CuttableSpace, _cells])
def test_numbered_rows_add_up_to_the_features(make):
    space = make()
    features = Features(space)
    rng = np.random.default_rng(1)
    rows = space.random(rng, 50)
    weights = rng.standard_normal((features.size, 3)).astype(np.float32)
    table = np.asarray(features.gathered(weights))
    found = table[features.numbered(rows)].sum(axis=1)
    np.testing.assert_allclose(found, features.observed(rows) @ weights, atol=1e-5)


def test_a_law_that_is_a_sum_is_found_without_error():
    rng = np.random.default_rng(2)
    rows = PLAIN.enumerate().repeat(5, axis=0)
    costs = np.array([[1.0, 2.0, 4.0], [0.5, 3.0, 0.0]])
    values = 2 + costs[[0, 1], rows].sum(axis=1)
    x = Features(PLAIN).observed(rows)
    draws = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=3)
    fitted = fit_additive(x, values[:, None], draws, prior=[None], groups=Features(PLAIN).groups)
    predicted = fitted.bias[:, :, None] + fitted.table @ x.T
    np.testing.assert_allclose(predicted, np.broadcast_to(values, predicted.shape), rtol=2e-3)


def test_the_ridge_is_the_textbook_one():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((40, 4)), rng.uniform(1, 2, 40)
    one = fit_additive(
        x, y[:, None], np.ones((1, 40), int), prior=[None], groups=[np.ones(4, bool)]
    )
    weights = 1 / np.maximum(y, np.median(y)) ** 2
    weights /= weights.mean()
    # The intercept is not penalised; of the penalties on offer one gives just this solution.
    design = np.column_stack([np.ones(40), x])
    found = np.append(one.bias[0], one.table[0, 0])
    solutions, errors = [], []
    for penalty in 10.0 ** np.arange(-3, 4.5, 0.5):
        ridge = penalty * np.diag([0, 1, 1, 1, 1])

        def solve(rows, ridge=ridge):
            scaled = design[rows] * weights[rows, None]
            return np.linalg.solve(scaled.T @ design[rows] + ridge, scaled.T @ y[rows])

        solutions.append(solve(np.arange(40)))
        left_out = [
            weights[i] * (y[i] - design[i] @ solve(np.delete(np.arange(40), i))) ** 2
            for i in range(40)
        ]
        errors.append(np.mean(left_out))
    np.testing.assert_allclose(found, solutions[int(np.argmin(errors))], rtol=1e-6)


def test_a_prior_is_followed_where_there_is_little_else():
    space = ToySpace()
    rows = space.random(np.random.default_rng(5), 8)
    observations = synthetic(space, rows).observations(space)
    features = Features(space)
    prior = features.timed(observations, "latency_ms")
    every = features.observed(space.enumerate())
    truth = 1.7 * (every @ prior) + 0.3
    x = features.observed(rows)
    values = (1.7 * (x @ prior) + 0.3)[:, None]
    draws = np.ones((1, 8), int)

    def error(prior):
        fitted = fit_additive(x, values, draws, prior=[prior], groups=features.groups)
        return np.abs((fitted.bias[0] + every @ fitted.table[0, 0]) / truth - 1).max()

    assert error(prior) < 0.02 < error(None)


def test_operations_of_another_metric_are_no_prior():
    space = ToySpace()
    observations = synthetic(space, space.enumerate()[:5]).observations(space)
    assert Features(space).timed(observations, "energy_mj") is None
    assert Features(PLAIN).timed(observations, "latency_ms") is None
    bare = Observations(observations.architectures, observations.values)
    assert Features(space).timed(bare, "latency_ms") is None
