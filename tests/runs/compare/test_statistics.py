"""Intervals, corrections and areas against SciPy and plain loops."""

import json

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas_jax.report.pareto_front import Reference, hypervolume
from hwnas_jax.runs.compare.statistics import (
    attained,
    first_reaching,
    holm,
    hypervolumes,
    interval,
    signed_rank,
)


def test_the_interval_is_that_of_scipys_bootstrap():
    values = np.random.default_rng(0).gamma(2.0, size=40)
    low, high = interval(values)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, random_state=1
    ).confidence_interval
    width = theirs.high - theirs.low
    np.testing.assert_allclose([low, high], theirs, atol=0.03 * width)
    # Columns are resampled alike, and one has the interval that it would have alone.
    both = interval(np.stack([values, -values], axis=1))
    np.testing.assert_allclose(both, [[low, -high], [high, -low]])


def test_wilcoxons_test():
    pairs = np.random.default_rng(1).normal(0.4, 1.0, 30)
    assert signed_rank(pairs) == pytest.approx(scipy.stats.wilcoxon(pairs).pvalue)
    assert signed_rank(np.zeros(5)) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holms_correction_rejects_what_stepping_down_does(values):
    """At every level: the smallest are rejected while each is below the level over those left."""
    corrected = holm({str(n): value for n, value in enumerate(values)})
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for place, number in enumerate(sorted(range(len(values)), key=lambda n: values[n])):
            if values[number] * (len(values) - place) > level:
                break
            rejected.add(str(number))
        assert {name for name, value in corrected.items() if value <= level} == rejected


POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=9)


@settings(max_examples=50)
@given(POINTS, st.integers(0, 9), st.integers(0, 9))
def test_growing_areas_are_those_of_each_beginning(points, cost, value):
    costs, values = np.array(points, float).T
    reference = Reference(cost, value)
    counts = np.arange(len(points) + 1)
    expected = [hypervolume(costs[:n], values[:n], reference) for n in counts]
    np.testing.assert_allclose(hypervolumes(costs, values, reference, counts), expected)
    unknown = np.r_[np.nan, costs], np.r_[9.0, values]
    np.testing.assert_allclose(hypervolumes(*unknown, reference, counts + 1), expected)


def test_the_best_for_each_cost():
    costs, values = np.array([3.0, 1.0, 2.0, np.nan]), np.array([0.9, 0.5, 0.4, 1.0])
    grid = np.array([0.5, 1.0, 2.5, 3.0])
    np.testing.assert_array_equal(attained(costs, values, grid), [np.nan, 0.5, 0.5, 0.9])


def test_where_a_curve_arrives():
    assert first_reaching(np.array([0.1, 0.3, 0.2, 0.4]), 0.3) == 1
    assert first_reaching(np.array([np.nan, 0.3]), 0.5) is None
    assert json.dumps(holm({})) == "{}"
