import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from hwnas_jax.cost.metrics import coverage, kendall, mape, share_within, spearman


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


def test_kendall_counts_ordered_pairs():
    measured, predicted = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])
    assert kendall(measured, predicted) == pytest.approx((5 - 1) / 6)
    # Tau-b: one pair of the first is tied, so five of its pairs count.
    assert kendall(np.array([1.0, 1.0, 2.0, 3.0]), measured) == pytest.approx(5 / (30**0.5))
    assert math.isnan(kendall(np.ones(3), np.arange(3.0)))


def test_coverage_of_normal_values_is_the_level():
    rng = np.random.default_rng(0)
    deviation = rng.uniform(0.5, 2, 20_000)
    measured = 5 + deviation * rng.standard_normal(20_000)
    for level in (0.5, 0.9):
        assert coverage(measured, np.full(20_000, 5.0), deviation, level) == pytest.approx(
            level, abs=0.01
        )
    assert coverage(np.array([1.0, 3.0]), np.ones(2), np.ones(2), 0.9) == 0.5
