"""One proxy device: how sure the agreement of two devices is, and the proxy's model adapted."""

import numpy as np
import pytest
import scipy

from hwnas_jax.cost import predict_architectures, spearman
from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.judge.proxy import Agreement, adapted_model, kept_order, rank_agreement
from hwnas_jax.cost.models.prior import TransferConfig
from hwnas_jax.errors import UserError
from tests.cost.test_transfer import ALL, SPACE

RNG = np.random.default_rng(3)
PROXY = 1 + (RNG.uniform(0, 1, (SPACE.num_decisions, SPACE.num_options))[
    np.arange(SPACE.num_decisions), ALL]).sum(-1)  # fmt: skip
SAME = 3 * PROXY**1.2 + 0.01
OTHER = 1 + (RNG.uniform(0, 1, (SPACE.num_decisions, SPACE.num_options))[
    np.arange(SPACE.num_decisions), ALL]).sum(-1)  # fmt: skip


def test_the_interval_holds_the_true_correlation_as_often_as_it_says():
    """Of normal pairs, whose rank correlation is 6 / pi * asin(r / 2)."""
    rng, r = np.random.default_rng(0), 0.8
    true, held = 6 / np.pi * np.arcsin(r / 2), []
    for _ in range(400):
        x = rng.normal(size=20)
        y = r * x + np.sqrt(1 - r**2) * rng.normal(size=20)
        found = rank_agreement(x, y, 0.9)
        held.append(found.low <= true <= found.high)
        assert found.rho == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert 0.86 < np.mean(held) < 0.95


def test_ten_samples_in_perfect_order_do_not_prove_a_correlation_of_one():
    found = rank_agreement(np.arange(10.0), np.arange(10.0) ** 2)
    assert found.rho == pytest.approx(1) and 0.9 < found.low < found.high < 1
    more = rank_agreement(np.arange(40.0), np.arange(40.0))
    assert more.low > found.low
    assert rank_agreement(np.arange(10.0), -np.arange(10.0)).high < -0.9


def test_verdicts_of_a_device_alike_and_of_another():
    rows = np.random.default_rng(1).choice(len(ALL), 10, replace=False)
    assert rank_agreement(PROXY[rows], SAME[rows]).verdict() == "safe"
    assert abs(spearman(PROXY, OTHER)) < 0.4
    assert rank_agreement(PROXY[rows], OTHER[rows]).verdict() == "unsafe"
    assert Agreement(0.92, 0.8, 0.97, 0.9, 10).verdict() == "unsure"
    assert Agreement(0.92, 0.8, 0.97, 0.9, 10).verdict(0.75) == "safe"


def test_the_adapted_model_orders_networks_as_the_new_device_does():
    rows = np.random.default_rng(1).choice(len(ALL), 15, replace=False)
    samples = Observations(ALL[rows], {"latency_ms": OTHER[rows]})
    config = TransferConfig(hypotheses=64)
    model = adapted_model(SPACE, ALL, PROXY, samples, config, metric="latency_ms")
    cost = predict_architectures(model, ALL, SPACE.num_options)["latency_ms"]
    assert spearman(OTHER, cost) > 0.6 > abs(spearman(OTHER, PROXY))
    np.testing.assert_array_equal(kept_order("safe", PROXY, cost), np.argsort(PROXY))
    for verdict in ("unsafe", "unsure"):
        order = kept_order(verdict, PROXY, cost)
        assert (np.diff(cost[order]) >= 0).all()


def test_what_says_nothing_is_refused():
    five = np.arange(5.0)
    with pytest.raises(UserError, match="needs 5 samples, got 4"):
        rank_agreement(five[:4], five[:4])
    with pytest.raises(UserError, match="cost the same on one of the devices"):
        rank_agreement(five, np.ones(5))
    with pytest.raises(UserError, match="level must lie between 0 and 1, got 1"):
        rank_agreement(five, five, 1.0)
    samples = Observations(ALL[:5], {"energy_mj": OTHER[:5]})
    with pytest.raises(UserError, match="the samples have energy_mj, not latency_ms"):
        adapted_model(SPACE, ALL, PROXY, samples, metric="latency_ms")
