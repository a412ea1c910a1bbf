"""Transfer to a new device: the posterior, the choice of samples, the model, real tables."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.cost import predict_architectures, std_architectures
from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.files.readers import load_table
from hwnas_jax.cost.judge.metrics import spearman
from hwnas_jax.cost.judge.protocols import fbnet_tasks, help_cells, help_split, middle
from hwnas_jax.cost.models.hypotheses import (
    Hypotheses,
    average,
    draw_hypotheses,
    explain,
    free_level,
)
from hwnas_jax.cost.models.prior import TransferConfig, choose_samples, learn_prior
from hwnas_jax.cost.models.sources import one_hot
from hwnas_jax.cost.models.transfer import TransferModel, source_devices
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices, Decision

SMALL = TransferConfig(hypotheses=64, trials=2)
SPACE = Choices(
    "toy",
    (*(Decision(f"b{i}", ("k3_e1", "k3_e6", "k5_e1", "skip")) for i in range(4)),
     Decision("r", ("8", "16"))),
)  # fmt: skip
ALL = SPACE.enumerate()


def make_table(devices=6, seed=0):
    """Devices whose entries mix two kinds of hardware, with two per cent of noise."""
    rng = np.random.default_rng(seed)
    kinds = rng.uniform(0.2, 2.0, (2, 5, 4))
    share = rng.uniform(0, 1, devices)
    entries = share[:, None, None] * kinds[0] + (1 - share)[:, None, None] * kinds[1]
    entries = entries * rng.uniform(0.9, 1.1, entries.shape)
    entries *= rng.uniform(1, 30, devices)[:, None, None]
    costs = entries[:, np.arange(5), ALL].sum(axis=2)
    costs *= np.exp(0.02 * rng.standard_normal(costs.shape))
    names = tuple(f"d{number}" for number in range(devices))
    values = {"latency_ms": costs, "energy_mj": 2 * costs[:, ::-1]}
    return CostTable("toy table", SPACE, ALL, names, values)


TABLE = make_table()
SOURCES = TABLE.devices[1:]


@pytest.fixture(scope="module")
def prior():
    return learn_prior(TABLE, SOURCES, SMALL)


def brute_force(prior_mean, prior_covariance, design, costs, noise):
    """Returns mean and covariance of a linear regression in weight space."""
    precision = np.linalg.inv(prior_covariance) + design.T / noise @ design
    covariance = np.linalg.inv(precision)
    right = np.linalg.solve(prior_covariance, prior_mean) + design.T / noise @ costs
    return covariance @ right, covariance


def test_the_posterior_is_that_of_linear_regression_hypothesis_by_hypothesis():
    rng = np.random.default_rng(0)
    sources, width, count = 2, 5, 8
    features = rng.standard_normal((count, width))
    costs = 10 + features @ rng.standard_normal(width)
    factors = [rng.standard_normal((width, width)), rng.standard_normal((width, 2))]
    held = Hypotheses(
        np.array([[1.0, 0.1, 0.5], [0.2, 1.0, 0.05]]), np.array([[0.5, 0.5], [0.9, 0.1]]),
        np.array([0.3, 0.05]), np.log([0.4, 0.6]),
    )  # fmt: skip
    found = explain(
        held, [features @ f for f in factors], features[:, -sources:], costs, anchor_scale=1.7
    )
    design, free = np.c_[np.ones(count), features], free_level(held)
    means, covariances = [], []
    for h in range(2):
        anchors = held.anchors[h]
        level = np.median(costs / ((1 + features[:, -2:]) @ anchors))
        assert found.level[h] == pytest.approx(level)
        start = np.zeros(width + 1)
        start[0], start[-sources:] = level, level * anchors
        prior = np.zeros((width + 1, width + 1))
        prior[0, 0] = free[h]
        prior[1:, 1:] = sum(held.shares[h, b] * f @ f.T for b, f in enumerate(factors))
        prior[-2:, -2:] += held.shares[h, 2] * np.diag(anchors) * 1.7**2
        noise = held.noise[h] / found.trust[h]
        mean, covariance = brute_force(start, prior, design, costs, noise)
        means.append(mean)
        covariances.append(found.variance[h] * (count - 1) / (count - 3) * covariance)
        # the likeliest unit of variance, from the marginal covariance
        missed = costs - design @ start
        marginal = design @ prior @ design.T + np.diag(noise)
        size = missed @ np.linalg.solve(marginal, missed)
        assert found.variance[h] == pytest.approx(size / (count - 1))
    posterior = average(held, found, factors, features, 1.7)
    weights = found.weights
    mean = weights @ np.stack(means)
    apart = np.stack(means) - mean
    covariance = np.einsum("h,hij->ij", weights, np.stack(covariances))
    covariance += (apart.T * weights) @ apart
    np.testing.assert_allclose(posterior.mean, mean, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(posterior.covariance, covariance, rtol=1e-5, atol=1e-7)


def test_hypotheses_are_weighed_by_bayes_rule_and_outliers_are_seen_through():
    rng = np.random.default_rng(1)
    count = 40
    relative = 0.3 * rng.standard_normal((count, 2))
    costs = 5 * (1 + relative[:, 1]) + 0.02 * rng.standard_normal(count)
    costs[3] *= 3
    held = Hypotheses(
        np.full((2, 2), 1e-3), np.array([[1.0, 0.0], [0.0, 1.0]]), np.full(2, 1e-3),
        np.log([0.5, 0.5]),
    )  # fmt: skip
    found = explain(held, [relative], relative, costs, 3.0)
    assert found.weights[1] > 0.999
    assert found.trust[1].argmin() == 3 and found.trust[1, 3] < 0.01
    assert found.level[1] == pytest.approx(5, rel=0.01)
    total = np.exp(found.log_evidence + held.log_prior)
    np.testing.assert_allclose(found.weights, total / total.sum())


def test_drawn_hypotheses_are_proper():
    held = draw_hypotheses(64, 3, 5, seed=0)
    assert held.shares.shape == (64, 4) and held.anchors.shape == (64, 5)
    np.testing.assert_allclose(held.anchors.sum(axis=1), 1)
    np.testing.assert_allclose(held.anchors[::2], 0.2)
    assert held.anchors[1::2].max(axis=1).mean() > 0.7
    fewer = held.without(2).anchors
    assert fewer.shape == (64, 4)
    np.testing.assert_allclose(fewer.sum(axis=1), 1)


def test_a_new_device_is_recovered_from_fifteen_samples_one_of_them_wrong(prior):
    costs = TABLE.values["latency_ms"][0]
    seen = np.random.default_rng(0).choice(len(ALL), 15, replace=False)
    rest = np.setdiff1d(np.arange(len(ALL)), seen)
    features = np.c_[np.ones(len(rest)), prior.features(ALL[rest])]
    for wrong, least, most in ((1.0, 0.91, 0.05), (2.5, 0.88, 0.06)):
        taken = costs[seen].copy()
        taken[4] *= wrong
        predicted = features @ prior.condition(ALL[seen], taken).mean
        assert spearman(costs[rest], predicted) > least
        assert np.abs(predicted / costs[rest] - 1).mean() < most


def test_chosen_samples_leave_the_least_variance_one_by_one(prior):
    candidates = ALL[::9]
    covariance, noise = prior.expected_covariance()
    features = np.c_[np.ones(len(candidates)), prior.features(candidates)]
    gram = features @ covariance @ features.T

    def left(rows):
        taken = gram[:, rows]
        inside = gram[np.ix_(rows, rows)] + noise * np.eye(len(rows))
        return (np.diag(gram) - (taken * np.linalg.solve(inside, taken.T).T).sum(axis=1)).mean()

    chosen = choose_samples(prior, candidates, 4)
    for size in range(4):
        before = chosen[:size].tolist()
        every = {row: left([*before, row]) for row in range(len(candidates)) if row not in before}
        assert every[chosen[size]] == pytest.approx(min(every.values()), rel=1e-6)
    rng = np.random.default_rng(0)
    random = [left(rng.choice(len(candidates), 4, replace=False).tolist()) for _ in range(50)]
    assert left(chosen.tolist()) < np.quantile(random, 0.1)
    with pytest.raises(UserError, match="cannot be chosen from 57"):
        choose_samples(prior, candidates, 59)


def fitted(seen, sources=SOURCES):
    priors = [learn_prior(TABLE, sources, SMALL, metric=metric) for metric in TABLE.values]
    return TransferModel.of(priors, seen)


@pytest.fixture(scope="module")
def model():
    seen = TABLE.observations("d0", np.arange(0, len(ALL), 30))
    return fitted(seen)


def test_both_metrics_are_predicted_and_the_deviation_covers(model):
    assert model.metrics == ("latency_ms", "energy_mj")
    predicted = predict_architectures(model, ALL, SPACE.num_options)
    deviation = std_architectures(model, ALL, SPACE.num_options)
    for metric, table in TABLE.values.items():
        assert spearman(table[0], predicted[metric]) > 0.95
        inside = np.abs(predicted[metric] - table[0]) < 1.645 * deviation[metric]
        assert 0.75 < inside.mean() <= 1


def test_soft_gates_cost_their_expectation(model):
    logits = jnp.asarray(np.random.default_rng(0).standard_normal((5, 4)), jnp.float32)
    weight = jax.nn.softmax(jnp.where(SPACE.mask, logits, -jnp.inf))
    likelihood = np.asarray(weight)[np.arange(5), ALL].prod(axis=1)
    each = predict_architectures(model, ALL, SPACE.num_options)["latency_ms"]
    found = model.predict(weight)["latency_ms"]
    np.testing.assert_allclose(found, likelihood @ each, rtol=1e-5)
    slope = jax.jit(jax.grad(lambda w: model.predict(w)["latency_ms"]))(weight)
    step = jnp.zeros((5, 4)).at[1, 2].set(0.25).at[1, 0].set(-0.25)
    there = model.predict(weight + step)["latency_ms"]
    np.testing.assert_allclose(there - found, (slope * step).sum(), rtol=1e-3, atol=1e-4)


def test_without_samples_it_is_the_mean_of_the_sources(prior):
    posterior = prior.condition(np.zeros((0, 5), int), np.zeros(0))
    relative = prior.sources.predict(one_hot(SPACE, ALL))
    features = np.c_[np.ones(len(ALL)), prior.features(ALL)]
    scale = prior.sources.scale
    mean = features @ posterior.mean
    np.testing.assert_allclose(mean, np.median(scale) * relative.mean(axis=1))
    variance = (features @ posterior.covariance * features).sum(axis=1)
    wanted = ((scale * relative - mean[:, None]) ** 2).sum(axis=1) / (len(scale) - 1)
    np.testing.assert_allclose(variance, wanted)


def test_one_source_is_enough():
    seen = TABLE.observations("d0", np.arange(0, len(ALL), 40))
    model = fitted(seen, ["d1"])
    predicted = predict_architectures(model, ALL, SPACE.num_options)["latency_ms"]
    assert spearman(TABLE.values["latency_ms"][0], predicted) > 0.8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hypotheses": 100}, "power of two, got 100"),
        ({"learned": 1.0}, r"learned must be in \[0, 1\), got 1.0"),
        ({"trials": -1}, "trials must be at least 0, got -1"),
        ({"trial_samples": 2}, "trial_samples must be at least 3, got 2"),
    ],
)
def test_settings_out_of_range_are_named(changes, said):
    with pytest.raises(UserError, match=said):
        learn_prior(TABLE, SOURCES, dataclasses.replace(SMALL, **changes))


def test_one_or_two_samples_are_refused(prior):
    with pytest.raises(UserError, match="no sample at all or at least 3, got 2"):
        prior.condition(ALL[:2], np.ones(2))


def test_the_new_device_is_never_a_source():
    split = dataclasses.replace(TABLE, splits={"train": ("d0", "d3")})
    assert source_devices(TABLE, "d2") == ("d0", "d1", "d3", "d4", "d5")
    assert source_devices(split, "d0") == ("d3",)
    assert source_devices(split, "d0", ["d1"]) == ("d1",)
    with pytest.raises(UserError, match="d0 is the new device"):
        source_devices(split, "d0", ["d0"])
    with pytest.raises(UserError, match="unknown device of toy table 'd9'"):
        source_devices(split, "d0", ["d9"])


def test_the_middle_of_a_range():
    costs = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0, 10.0, 0.0, 11.0])
    np.testing.assert_array_equal(middle(costs, np.arange(10)), [0, 2, 3, 4, 5, 6, 7, 8])


def test_the_protocol_of_help_gives_the_published_row_of_flops(shared):
    table = load_table(shared / "nb201_latency_help.npz")
    names = table.space.decisions[0].options
    cost = np.array([{"nor_conv_1x1": 1, "nor_conv_3x3": 9}.get(name, 0) for name in names])
    flops = cost[table.architectures].sum(axis=1)
    published = {"titan_rtx_256": 0.950, "gold_6226": 0.826, "pixel2": 0.765, "fpga": 0.900}
    for device, wanted in published.items():
        costs = table.values["latency_ms"][table.row(device)]
        pool, test = help_cells(costs)
        assert len(pool) == 720 and len(test) == 800 and pool.max() < 900 <= test.min()
        assert spearman(costs[test], flops[test]) == pytest.approx(wanted, abs=0.006)


def test_the_tasks_name_devices_of_the_table(shared):
    table = load_table(shared / "fbnet_latency_help.npz")
    tasks = fbnet_tasks(table)
    assert list(tasks) == ["FD", "F1", "F2", "F3", "F4", "FA"]
    assert len(tasks["FA"].sources) == 15
    for task in tasks.values():
        assert not set(task.sources) & set(task.targets)


@pytest.mark.slow
def test_ten_samples_rank_the_cells_of_new_devices(shared):
    whole = load_table(shared / "nb201_latency_help.npz")
    table = dataclasses.replace(
        whole, architectures=whole.architectures[:1900],
        values={"latency_ms": whole.values["latency_ms"][:, :1900]},
    )  # fmt: skip
    task = help_split(table)
    prior = learn_prior(
        table, task.sources, dataclasses.replace(SMALL, hypotheses=256), rows=np.arange(900)
    )
    features = np.c_[np.ones(1900), prior.features(table.architectures)]
    bounds = {"eyeriss": 0.98, "gold_6226": 0.97, "raspi4": 0.88}
    for device, least in bounds.items():
        costs = table.values["latency_ms"][table.row(device)].astype(float)
        pool, test = help_cells(costs)
        found = []
        for draw in range(3):
            seen = np.random.default_rng(draw).choice(pool, 10, replace=False)
            posterior = prior.condition(table.architectures[seen], costs[seen])
            found.append(spearman(costs[test], features[test] @ posterior.mean))
        assert np.mean(found) > least, device
