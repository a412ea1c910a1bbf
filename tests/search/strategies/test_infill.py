"""Infill criteria against drawn scores and closed forms."""

from statistics import NormalDist

import jax
import numpy as np

from hwnas_jax.report.pareto_front import Reference, hypervolume
from hwnas_jax.search.strategies.infill import (
    Points,
    constrained_improvement,
    expected_improvement,
    hypervolume_improvement,
    thompson,
    upper_confidence,
)

MEAN = np.float32([0.0, 0.5, 1.0, 2.0, 1.2])
STD = np.float32([1.0, 0.2, 0.5, 0.1, 1e-9])
BEST = np.float32(1.1)
improvement = jax.jit(expected_improvement)


def test_the_expected_improvement_is_that_of_drawn_scores():
    drawn = MEAN + STD * np.random.default_rng(0).normal(size=(400_000, 5))
    expected = np.maximum(drawn - BEST, 0).mean(axis=0)
    np.testing.assert_allclose(improvement(MEAN, STD, BEST), expected, atol=1.5e-3)


def test_a_small_improvement_is_not_lost_in_rounding():
    """By numerical integration in double precision."""
    points = np.linspace(0, 3, 200_001)
    below = np.array([2.5, 2.999, 3.001, 4.0, 6.0, 9.0])
    densities = np.exp(-((points + below[:, None]) ** 2) / 2) / np.sqrt(2 * np.pi)
    expected = np.trapezoid(points * densities, points)
    found = improvement(np.float32(-below), np.ones(6, np.float32), np.float32(0))
    np.testing.assert_allclose(found, expected, rtol=0.1)


def test_the_improvement_grows_with_mean_and_deviation():
    means = np.linspace(-20, 3, 400, dtype=np.float32)
    found = np.asarray(improvement(means, np.ones(400, np.float32), np.float32(0)))
    assert (np.diff(found) >= 0).all()
    assert (np.diff(found[means > -12]) > 0).all()
    deviations = np.linspace(0.1, 5, 400, dtype=np.float32)
    found = improvement(np.full(400, -1, np.float32), deviations, np.float32(0))
    assert (np.diff(found) > 0).all()


def test_a_chance_to_keep_the_budget_weighs_the_improvement():
    """The expectation over scores and over whether the budget is kept, both drawn."""
    chance = np.float32([0.1, 0.9, 0.5, 0.3, 0.0])
    rng = np.random.default_rng(1)
    drawn = np.maximum(MEAN + STD * rng.normal(size=(400_000, 5)) - BEST, 0)
    kept = rng.uniform(size=drawn.shape) < chance
    found = jax.jit(constrained_improvement)(MEAN, STD, BEST, chance)
    np.testing.assert_allclose(found, (drawn * kept).mean(axis=0), atol=2e-3)


def test_the_upper_bound_is_a_quantile():
    deviations = NormalDist().inv_cdf(0.9)
    expected = [NormalDist(m, s).inv_cdf(0.9) for m, s in zip(MEAN, STD, strict=True)]
    np.testing.assert_allclose(upper_confidence(MEAN, STD, deviations), expected, rtol=1e-5)


def test_thompson_draws_each_score_on_its_own():
    keys = jax.random.split(jax.random.key(0), 50_000)
    drawn = np.asarray(jax.jit(jax.vmap(thompson, (0, None, None)))(keys, MEAN, STD))
    np.testing.assert_allclose(drawn.mean(axis=0), MEAN, atol=0.02)
    np.testing.assert_allclose(drawn.std(axis=0), STD, atol=0.02)
    correlation = np.corrcoef(drawn[:, :4].T)
    np.testing.assert_allclose(correlation, np.eye(4), atol=0.02)


def test_the_area_grows_as_that_of_drawn_scores():
    """Against the areas under exact fronts, with and without each draw."""
    rng = np.random.default_rng(2)
    cost, score = (
        np.float32([0.5, 0.2, 0.7, 0.5, 0.1, 1.5, 0.3]),
        np.float32([0.9, 0.4, 0.6, 1.0, -0.5, 3.0, 0.2]),
    )
    counts = np.array([True, True, True, True, True, True, False])
    most, least = 1.2, 0.0
    corner = Reference(most, least)
    asked = np.float32([0.05, 0.2, 0.45, 0.5, 1.1, 1.3])
    mean, std = np.float32([0.3, 0.1, 1.2, 0.8, 2.0, 9.0]), np.float32([0.5, 1, 0.3, 0.6, 1, 1])

    def area(*more):
        own = np.concatenate([cost[counts], [c for c, _ in more]])
        return hypervolume(own, np.concatenate([score[counts], [s for _, s in more]]), corner)

    expected = [
        np.mean([area((c, m + d * z)) for z in rng.normal(size=4000)]) - area()
        for c, m, d in zip(asked, mean, std, strict=True)
    ]
    points = Points(cost, score, counts, np.float32(most), np.float32(least))
    found = jax.jit(hypervolume_improvement)(mean, std, asked, points)
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert expected[0] > 0.1
    assert found[-1] == 0


def test_where_all_cost_the_same_the_area_grows_with_the_best_score():
    points = Points(
        np.zeros(3, np.float32), np.float32([0.2, BEST, -1]), np.ones(3, bool),
        np.float32(0.5), np.float32(-2),
    )  # fmt: skip
    found = jax.jit(hypervolume_improvement)(MEAN, STD, np.zeros(5, np.float32), points)
    np.testing.assert_allclose(found, 0.5 * improvement(MEAN, STD, BEST), rtol=1e-5)
