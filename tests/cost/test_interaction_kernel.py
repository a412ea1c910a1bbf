import itertools
import math

import numpy as np
import pytest

from hwnas_jax.cost.models.gaussian_regression import negative_log_evidence, regress
from hwnas_jax.cost.models.interaction_kernel import AdditiveKernel, symmetric_matches, timed_table
from hwnas_jax.spaces.base import Choices, Decision
from hwnas_jax.spaces.core.published import nasbench201
from tests.cost.toy import OPERATIONS_MS, ToySpace, synthetic


def test_matches_are_counted_over_all_sets_of_decisions():
    rng = np.random.default_rng(0)
    left, right = rng.integers(3, size=(5, 6)), rng.integers(3, size=(4, 6))
    found = symmetric_matches(left, right, 3)
    for order, matches in enumerate(found, 1):
        for i, j in itertools.product(range(5), range(4)):
            sets = itertools.combinations(range(6), order)
            count = sum(all(left[i, d] == right[j, d] for d in chosen) for chosen in sets)
            assert matches[i, j] == pytest.approx(count / math.comb(6, order))


def test_parts_have_names_and_one_is_theirs_on_the_diagonal():
    space = nasbench201()
    kernel = AdditiveKernel(space, 3, tabulated=True, empty=True)
    rows = np.concatenate([np.zeros((1, 6), np.int32), space.random(np.random.default_rng(0), 7)])
    parts = list(kernel.parts(rows, rows))
    assert len(parts) == len(kernel.names)
    assert kernel.names[:5] == ("constant", "shared", "empty", "relations", "alike relations")
    np.testing.assert_allclose(kernel.diagonal(rows), [np.diag(part) for part in parts])
    assert parts[2][0, 0] == 1
    for part in parts:
        assert np.linalg.eigvalsh(part).min() > -1e-9
    over_all = kernel.diagonal(space.enumerate()).mean(axis=1)
    assert over_all[3] == pytest.approx(1)
    assert over_all[4] == 1


def test_cells_that_build_one_network_are_equal_in_canonical_form():
    space = nasbench201()
    kernel = AdditiveKernel(space, 2)
    # Node 2 feeds nothing, so what feeds node 2 is left out.
    rows = np.array([[3, 1, 2, 2, 0, 0], [3, 4, 4, 2, 1, 0]], np.int32)
    rows[:, 4] = 0
    parts = dict(zip(kernel.names, kernel.parts(rows, rows), strict=True))
    assert parts["canonical pair"][0, 1] == 1
    assert parts["shared"][0, 1] == pytest.approx(parts["shared"][0, 0])
    assert parts["pair"][0, 1] < 1


def test_cells_that_differ_in_what_is_not_read_are_equal_in_the_form_used():
    """Node 2 is not read; node 1 is, though nothing flows into it."""
    space = nasbench201()
    kernel = AdditiveKernel(space, 2, tabulated=True)
    rows = np.array([[0, 3, 2, 1, 3, 0], [0, 4, 0, 1, 3, 0], [0, 0, 0, 1, 0, 0]], np.int32)
    parts = dict(zip(kernel.names, kernel.parts(rows, rows), strict=True))
    np.testing.assert_array_equal(parts["canonical pair"], 1)
    np.testing.assert_array_equal(parts["used pair"][:2, :2], 1)
    assert parts["used pair"][0, 2] < 1
    assert "used pair" not in AdditiveKernel(space, 2).names


def test_shared_counts_options_wherever_they_stand():
    space = Choices("x", (Decision("a", ("p", "q")), Decision("b", ("p", "q")),
                          Decision("c", ("r",))))  # fmt: skip
    rows = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], np.int32)
    shared = dict(
        zip(AdditiveKernel(space, 1).names, AdditiveKernel(space, 1).parts(rows, rows), strict=True)
    )
    counts = np.array([[1, 1], [1, 1], [2, 0]])
    np.testing.assert_allclose(shared["shared"], counts @ counts.T / 9)


def test_timed_operations_give_a_part_proportional_to_the_table():
    space = ToySpace()
    rows = space.enumerate()
    observed = synthetic(space, rows[:9]).observations(space)
    kernel = AdditiveKernel(space, 1, timed_table(space, observed, "latency_ms"))
    parts = dict(zip(kernel.names, kernel.parts(rows, rows), strict=True))
    names = [[space.decisions[d].options[k] for d, k in enumerate(row)] for row in rows]
    sums = np.array([sum(OPERATIONS_MS.get(name, 0.0) for name in row) for row in names])
    np.testing.assert_allclose(parts["timed"], np.outer(sums, sums) / sums.max() ** 2)
    assert timed_table(space, observed, "energy_mj") is None


def test_the_gradient_of_the_evidence_is_that_of_finite_differences():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 12, 5))
    parts = np.einsum("jnf,jmf->jnm", features, features)
    values, mean, weight = 1 + rng.random(12), 0.5 + rng.random(12), 0.2 + rng.random(12)
    centre = np.array([-1.0, -2.0, -3.0, -4.0])
    logs = centre + rng.standard_normal(4)

    def value(at):
        return negative_log_evidence(at, parts, values, mean, weight, centre)[0]

    gradient = negative_log_evidence(logs, parts, values, mean, weight, centre)[1]
    for i, step in enumerate(1e-5 * np.eye(4)):
        assert gradient[i] == pytest.approx((value(logs + step) - value(logs - step)) / 2e-5,
                                            rel=1e-5)  # fmt: skip
    matrix = np.tensordot(np.exp(logs[:2]), parts, 1)
    matrix += np.diag(np.exp(logs[2]) * mean**2 + np.exp(logs[3]) / weight)
    prior = (((logs - centre) / 5) ** 2).sum() / 2
    exact = values @ np.linalg.solve(matrix, values) / 2 + np.linalg.slogdet(matrix)[1] / 2
    assert value(logs) == pytest.approx(exact + prior)


def _line(noise, outliers=0):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((120, 3))
    truth = 1 + 0.2 * x @ np.array([1.0, -0.5, 0.3])
    values = truth * (1 + noise * rng.standard_normal(120))
    values[:outliers] *= 3
    parts = np.array([np.ones((120, 120)), x @ x.T])
    return parts, truth, values


@pytest.mark.parametrize("noise", [0.03, 0.2])
def test_the_noise_is_found(noise):
    parts, truth, values = _line(noise)
    fit = regress(parts, values, names=("constant", "single"))
    found = np.sqrt(fit.noise(truth))
    assert 0.7 * noise < np.median(found / truth) < 1.4 * noise


def test_outliers_make_the_noise_heavy_tailed_and_leave_the_mean_alone():
    parts, truth, values = _line(0.02, outliers=8)
    fit = regress(parts, values, names=("constant", "single"))
    mean = np.tensordot(fit.variances, parts, 1) @ fit.alpha
    assert np.isfinite(fit.freedom)
    assert np.abs(mean - truth).max() < 0.04
    assert np.isinf(regress(*_line(0.02)[::2], names=("constant", "single")).freedom)
