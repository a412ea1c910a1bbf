import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from hwnas_jax.cost.judge.metrics import coverage, kendall, mape, share_within, spearman


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=3, max_size=30))
def test_spearman_is_the_correlation_of_tie_averaged_ranks(pairs):
    a, b = np.array(pairs, float).T
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert math.isnan(spearman(a, b))
    else:
        expected = np.corrcoef(rankdata(a), rankdata(b))[0, 1]
        assert spearman(a, b) == pytest.approx(expected)


def test_relative_errors_by_hand():
    measured, predicted = np.array([1.0, 2.0, 4.0]), np.array([1.1, 1.0, 4.0])
    assert mape(measured, predicted) == pytest.approx((0.1 + 0.5) / 3)
    assert share_within(measured, predicted, 0.2) == pytest.approx(2 / 3)
    assert share_within(measured, predicted, 0.05) == pytest.approx(1 / 3)


def test_shapes_must_agree():
    with pytest.raises(AssertionError):
        mape(np.ones(3), np.ones(2))


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=20))
def test_kendall_counts_pairs_in_order(pairs):
    a, b = np.array(pairs, float).T
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert math.isnan(kendall(a, b))
        return
    i, j = np.triu_indices(len(a), 1)
    left, right = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
    expected = (left * right).sum() / math.sqrt((left**2).sum() * (right**2).sum())
    assert kendall(a, b) == pytest.approx(expected)


def test_coverage_by_hand_and_on_normal_errors():
    measured, predicted, std = np.array([1.0, 2.0, 3.0]), np.array([1.5, 2.0, 9.0]), np.ones(3)
    assert coverage(measured, predicted, std, 0.5) == pytest.approx(2 / 3)  # reaches 0.674
    assert coverage(measured, predicted, 0.1 * std, 0.5) == pytest.approx(1 / 3)
    rng = np.random.default_rng(0)
    std = rng.uniform(0.5, 2, 20_000)
    errors = std * rng.standard_normal(20_000)
    for level in (0.5, 0.9, 0.99):
        assert coverage(errors, np.zeros(20_000), std, level) == pytest.approx(level, abs=0.01)
    with pytest.raises(ValueError, match="level"):
        coverage(errors, errors, std, 90)
    with pytest.raises(AssertionError):
        coverage(errors, errors, std[:3], 0.9)
