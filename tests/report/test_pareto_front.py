"""Fronts and hypervolumes against pairwise loops and the counting of unit squares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas_jax.report.pareto_front import Reference, hypervolume, on_front

POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8)
REFERENCE = st.builds(Reference, st.integers(0, 9), st.integers(0, 9))


def columns(points):
    return np.array([p[0] for p in points], float), np.array([p[1] for p in points], float)


@given(POINTS, REFERENCE)
def test_the_area_is_the_number_of_dominated_unit_squares(points, reference):
    squares = {
        (x, y)
        for cost, value in points
        for x in range(cost, reference.cost)
        for y in range(reference.value, value)
    }
    assert hypervolume(*columns(points), reference) == len(squares)


@given(POINTS, REFERENCE)
def test_errors_are_values_of_the_other_sign(points, reference):
    costs, errors = columns(points)
    squares = {
        (x, y)
        for cost, error in points
        for x in range(cost, reference.cost)
        for y in range(error, reference.value)
    }
    assert hypervolume(costs, errors, reference, higher_is_better=False) == len(squares)
    expected = [not any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in points) for p in points]
    assert on_front(costs, errors, higher_is_better=False).tolist() == expected


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points):
    expected = [not any(q[0] <= p[0] and q[1] >= p[1] and q != p for q in points) for p in points]
    assert on_front(*columns(points)).tolist() == expected


def test_a_known_front():
    costs, accuracies = np.array([1.0, 2.0, 3.0, 2.5]), np.array([0.5, 0.8, 0.9, 0.7])
    assert on_front(costs, accuracies).tolist() == [True, True, True, False]
    area = hypervolume(costs, accuracies, Reference(4.0, 0.1))
    assert area == pytest.approx(3.0 * 0.4 + 2.0 * 0.3 + 1.0 * 0.1)
    assert hypervolume(costs, accuracies, Reference(0.5, 0.1)) == 0.0
