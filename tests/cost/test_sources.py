"""Source devices' regressions and the blocks of prior covariance, on planted problems."""

import numpy as np
import pytest
from scipy import integrate, stats

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.models.prior_covariance import make_blocks
from hwnas_jax.cost.models.sources import FREEDOM, fit_sources, one_hot, pairs_of, weight_bound
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices, Decision

WIDE = ("k3_e1", "k3_e6", "k5_e1", "skip")
SPACE = Choices("toy", (*(Decision(f"b{i}", WIDE) for i in range(4)), Decision("r", ("8", "16"))))
ALL = SPACE.enumerate()


def planted(costs, architectures=ALL, devices=("a",)):
    values = {"latency_ms": np.atleast_2d(np.asarray(costs, float))}
    return CostTable("toy table", SPACE, architectures, devices, values)


def additive_costs(seed=0):
    rng = np.random.default_rng(seed)
    entries = rng.uniform(0.2, 2.0, (5, 4))
    return 3 + entries[np.arange(5), ALL].sum(axis=1)


def test_an_additive_device_is_recovered_despite_outliers():
    costs, rng = additive_costs(), np.random.default_rng(1)
    rows = rng.choice(len(ALL), 150, replace=False)
    seen = costs.copy()
    slow = rng.choice(rows, 15, replace=False)
    seen[slow] *= 3
    models = fit_sources(planted(seen), ["a"], rows=rows)
    rest = np.setdiff1d(np.arange(len(ALL)), rows)
    encoded = one_hot(SPACE, ALL)
    predicted = models.scale[0] * models.predict(encoded)[:, 0]
    np.testing.assert_allclose(predicted[rest], costs[rest], rtol=5e-3)
    assert models.outliers[0] == 15
    design = np.c_[np.ones(len(ALL)), encoded]
    plain = design @ np.linalg.lstsq(design[rows], seen[rows], rcond=None)[0]
    assert np.abs(plain[rest] / costs[rest] - 1).max() > 0.05


def test_pairs_are_found_where_they_matter_and_the_mean_is_one():
    costs = additive_costs() + 2.0 * (ALL[:, 0] == 1) * (ALL[:, 3] == 2)
    rows = np.random.default_rng(2).choice(len(ALL), 300, replace=False)
    models = fit_sources(planted(costs), ["a"], rows=rows)
    relative = models.predict(one_hot(SPACE, ALL))[:, 0]
    assert relative.mean() == pytest.approx(1)
    np.testing.assert_allclose(models.scale[0] * relative, costs, rtol=5e-3)


def test_pairs_are_of_two_decisions_and_of_options_that_exist():
    pairs = pairs_of(SPACE)
    assert len(pairs) == 6 * 16 + 4 * 8
    assert (pairs[:, 0] // 4 != pairs[:, 1] // 4).all()
    assert SPACE.mask.reshape(-1)[pairs].all()
    many = Choices("many", tuple(Decision(str(i), WIDE) for i in range(22)))
    assert pairs_of(many).shape == (0, 2)


def test_a_device_does_not_depend_on_the_unit():
    costs = additive_costs() * np.exp(0.1 * np.random.default_rng(3).standard_normal(len(ALL)))
    one, other = (fit_sources(planted(scale * costs), ["a"]) for scale in (1.0, 1e3))
    np.testing.assert_allclose(other.scale, 1e3 * one.scale)
    np.testing.assert_allclose(other.table, one.table, atol=1e-9)


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        ([], "at least one source device"),
        (["a", "a"], "named twice"),
        (["A"], r"unknown device of toy table 'A'.*Did you mean 'a'"),
        (["b"], r"b of toy table has 10 networks with latency_ms; a source device needs 30"),
    ],
)
def test_unusable_sources_are_named(devices, said):
    costs = np.stack([additive_costs(), np.where(np.arange(len(ALL)) < 10, 1.0, np.nan)])
    with pytest.raises(UserError, match=said):
        fit_sources(planted(costs, devices=("a", "b")), devices)


def test_an_unknown_metric_is_named():
    with pytest.raises(UserError, match="has no energy_mj; it has latency_ms"):
        fit_sources(planted(additive_costs()), ["a"], "energy_mj")


def test_the_bound_for_unknown_weights_agrees_with_quadrature():
    shape, rate = (FREEDOM + 1) / 2, 3.7
    mean = shape / rate
    posterior = stats.gamma(shape, scale=1 / rate)
    prior = stats.gamma(FREEDOM / 2, scale=2 / FREEDOM)

    def inside(w):
        gain = 0.5 * (np.log(w) - np.log(mean))
        return posterior.pdf(w) * (gain + prior.logpdf(w) - posterior.logpdf(w))

    wanted = integrate.quad(inside, 0, np.inf)[0]
    found = weight_bound(np.array([mean]), np.array([rate]))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_blocks_covary_as_their_definitions():
    blocks = make_blocks(SPACE)
    pair = ALL[[7, 200, 431]]
    encoded = one_hot(SPACE, pair)
    words = [[set(SPACE.decisions[d].options[k].split("_")) for d, k in enumerate(row)]
             for row in pair]  # fmt: skip

    def smooth(i, j):
        return np.exp(-0.5 * ((i - j) / (0.2 * 4)) ** 2)

    def wanted(kind, x, y, a, b):
        total = 0.0
        for i in range(5):
            for j in range(5):
                if (i == 4) != (j == 4):
                    continue
                common = len(words[a][i] & words[b][j])
                same = float(x[i] == y[j])
                depth = 1.0 if i == 4 else smooth(i, j)
                total += {
                    "options": same, "words": common, "words along depth": depth * common,
                    "words by place": common * (i == j), "places": same * (i == j),
                }[kind]  # fmt: skip
        return total

    for kind, factor in blocks.items():
        for a in range(3):
            for b in range(3):
                found = (encoded[a] @ factor) @ (encoded[b] @ factor)
                want = wanted(kind, pair[a], pair[b], a, b)
                assert found == pytest.approx(want, abs=1e-5), kind
