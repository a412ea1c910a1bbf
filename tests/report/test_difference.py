"""Intervals of differences: against SciPy, and by how often they hold the truth, counted out."""

import math

import numpy as np
import pytest
import scipy

from hwnas_jax.report.difference import of_examples, of_shares, over_seeds


def right(wrong, examples):
    return ~np.isin(np.arange(examples), wrong)


def test_a_paired_interval_is_that_of_the_t_test_for_many_disagreements():
    rng = np.random.default_rng(0)
    one, other = rng.random(20_000) < 0.8, rng.random(20_000) < 0.7
    found = of_examples(one, other)
    gaps = one.astype(float) - other
    low, high = scipy.stats.ttest_1samp(gaps, 0.0).confidence_interval(0.95)
    assert found.value == pytest.approx(gaps.mean())
    assert found.half_width == pytest.approx((high - low) / 2, rel=2e-3)
    assert found.is_seen


def test_one_image_of_359_is_no_difference():
    """98.6 against 98.9 %: the closed form with one example added to each side."""
    found = of_examples(right(range(4), 359), right(range(5), 359))
    assert found.value == pytest.approx(1 / 359)
    p, q = 2 / 361, 1 / 361
    by_hand = 1.959964 * math.sqrt((p + q - (p - q) ** 2) / 361)
    assert found.half_width == pytest.approx(by_hand, rel=1e-5)
    assert found.is_seen is False
    same = of_examples(right(range(4), 359), right(range(4), 359))
    assert same.value == 0 and same.half_width is not None and same.half_width > 0.005


def coverage(interval, outcomes, truth):
    """Returns the probability that an interval holds the truth, over all outcomes."""
    held = 0.0
    for chance, arguments in outcomes:
        found = interval(*arguments)
        held += chance * (abs(found.value - truth) <= found.half_width)
    return held


@pytest.mark.parametrize(("p", "q"), [(0.02, 0.02), (0.05, 0.01), (0.2, 0.1)])
def test_a_paired_interval_holds_the_truth_as_often_as_it_says(p, q):
    """Over every number of examples that only one, only the other network has right."""
    examples = 100

    def outcomes():
        for a in range(40):
            for b in range(40 if p > 0.1 else 20):
                chance = scipy.stats.multinomial.pmf([a, b, examples - a - b], examples,
                                                     [p, q, 1 - p - q])  # fmt: skip
                if chance > 1e-6:
                    other = np.arange(examples)
                    yield chance, (other < examples - b, (other >= a) & (other < examples))

    assert 0.94 <= coverage(of_examples, outcomes(), p - q) <= 0.995


@pytest.mark.parametrize(("p", "q"), [(0.99, 0.98), (0.9, 0.8)])
def test_an_unpaired_interval_holds_the_truth_as_often_as_it_says(p, q):
    """Over every number of right answers of two networks with examples of their own."""
    examples, counts = 100, np.arange(101)
    first, second = (scipy.stats.binom.pmf(counts, examples, share) for share in (p, q))
    outcomes = (
        (first[a] * second[b], (a / examples, b / examples, examples))
        for a in counts for b in counts if first[a] * second[b] > 1e-6
    )  # fmt: skip
    assert 0.94 <= coverage(of_shares, outcomes, p - q) <= 0.997  # cautious near one


def test_examples_in_common_tell_more_than_shares():
    one, other = right(range(50), 1000), right(range(10, 80), 1000)
    paired, apart = of_examples(one, other), of_shares(one.mean(), other.mean(), 1000)
    assert paired.value == pytest.approx(apart.value) == pytest.approx(0.02)
    assert paired.half_width < apart.half_width
    variance = 0.95 * 0.05 / 1000 + 0.93 * 0.07 / 1000
    assert apart.half_width == pytest.approx(1.96 * math.sqrt(variance), rel=0.02)


def test_seeds_are_those_of_the_paired_t_test():
    one, other = np.array([0.91, 0.93, 0.92, 0.9]), np.array([0.9, 0.9, 0.93, 0.88])
    found = over_seeds(list(one - other))
    low, high = scipy.stats.ttest_rel(one, other).confidence_interval(0.95)
    assert found.value == pytest.approx((low + high) / 2)
    assert found.half_width == pytest.approx((high - low) / 2)
    alone = over_seeds([0.3])
    assert (alone.value, alone.half_width, alone.is_seen) == (0.3, None, None)


def test_results_of_other_examples_are_refused():
    with pytest.raises(AssertionError):
        of_examples(right([], 10), right([], 11))
