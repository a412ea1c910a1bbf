"""What all ensembles share: several metrics, plain choices, relaxed gates, intervals, losses."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.stats import spearmanr

from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.models.attention import AttentionEnsemble
from hwnas_jax.cost.models.base import predict_architectures, std_architectures
from hwnas_jax.cost.models.ensemble import TrainedOptions
from hwnas_jax.cost.models.linear import LinearEnsemble
from hwnas_jax.cost.models.mlp import MLPEnsemble
from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.base import Choices, Decision
from tests.cost.relaxed import agreement
from tests.cost.toy import CuttableSpace

KINDS = (MLPEnsemble, AttentionEnsemble, LinearEnsemble)
OPTIONS = TrainedOptions(members=4, hidden=16, steps=600)
SLOW = dataclasses.replace(OPTIONS, members=2, steps=400)
"""For attention, which takes many times as long for a step."""
PLAIN = Choices(
    "plain",
    tuple(Decision(f"d{i}", ("none", "small", "large", "huge")[: 4 - i % 2]) for i in range(5)),
)


def options_of(kind):
    if kind is LinearEnsemble:
        return kind.Options(members=4)
    return OPTIONS if kind is MLPEnsemble else SLOW


def _law(rows):
    """Latency that is no sum, and an energy that ranks networks otherwise."""
    sizes = np.array([0.0, 1.0, 2.0, 4.0])[rows]
    latency = 1 + sizes.sum(axis=1) + 0.15 * (sizes[:, :-1] * sizes[:, 1:]).sum(axis=1)
    return latency, 50 + 10 * sizes[:, 0] ** 2 + 3 * sizes[:, 4]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def fitted(request):
    rows = PLAIN.random(np.random.default_rng(0), 150)
    latency, energy = _law(rows)
    observed = Observations(rows, {"latency_ms": latency, "energy_mj": energy})
    return request.param, request.param.fit(PLAIN, observed, options_of(request.param))


def test_every_metric_is_predicted_in_its_unit(fitted):
    kind, model = fitted
    rows = PLAIN.enumerate()
    predicted = predict_architectures(model, rows, PLAIN.num_options)
    assert list(predicted) == ["latency_ms", "energy_mj"]
    for (metric, values), truth in zip(predicted.items(), _law(rows), strict=True):
        error = np.abs(values / truth - 1).mean()
        assert error < (0.1 if kind is LinearEnsemble else 0.05), metric


def test_relaxed_gates_cost_what_a_random_draw_does(fitted):
    """Against the model's own predictions, enumerated: what relaxing adds to the error."""
    _, model = fitted
    shape = PLAIN.mask.shape
    costs = predict_architectures(model, PLAIN.enumerate(), PLAIN.num_options)["latency_ms"]
    costs = costs.astype(float).reshape([len(d.options) for d in PLAIN.decisions])
    predict = jax.jit(jax.value_and_grad(lambda weight: model.predict(weight)["latency_ms"]))
    for temperature in (5.0, 1.0, 0.1):
        cosine, gap = agreement(
            costs, predict, np.random.default_rng(2), shape, temperature, 10, PLAIN.mask
        )
        assert cosine > 0.98
        assert gap < 0.01


@pytest.mark.parametrize("loss", ["rank", "both"])
def test_other_losses_rank_and_keep_the_level(loss):
    rows = PLAIN.random(np.random.default_rng(3), 100)
    observed = Observations(rows, {"latency_ms": _law(rows)[0]})
    model = MLPEnsemble.fit(PLAIN, observed, dataclasses.replace(OPTIONS, loss=loss))
    every = PLAIN.enumerate()
    predicted = predict_architectures(model, every, PLAIN.num_options)["latency_ms"]
    truth = _law(every)[0]
    assert spearmanr(predicted, truth).statistic > 0.99
    assert np.abs(predicted / truth - 1).mean() < 0.05


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_costs_that_cannot_be_are_refused(kind, bad):
    rows = PLAIN.random(np.random.default_rng(4), 10)
    values = np.linspace(1, 2, 10)
    values[3] = bad
    with pytest.raises(UserError, match=r"positive latency_ms; network \[3\]"):
        kind.fit(PLAIN, Observations(rows, {"latency_ms": values}))
    with pytest.raises(UserError, match="needs 4 measured networks, there are 3"):
        kind.fit(PLAIN, Observations(rows[:3], {"latency_ms": values[:3]}))


def test_networks_that_cost_next_to_nothing_stay_apart_from_the_rest():
    space = CuttableSpace()
    every = space.enumerate()
    rows = np.random.default_rng(5).permutation(every)[:80]

    def law(rows):
        whole = 10 + 3.0 * rows.sum(axis=1)
        return np.where(rows[:, 0] == 0, 0.01, whole)

    model = MLPEnsemble.fit(space, Observations(rows, {"latency_ms": law(rows)}), OPTIONS)
    predicted = predict_architectures(model, every, space.num_options)["latency_ms"]
    cut = every[:, 0] == 0
    assert (predicted > 0).all()
    assert predicted[cut].max() < 1
    assert np.abs(predicted / law(every) - 1)[~cut].mean() < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("device", ["gold_6226", "raspi4"])
def test_on_a_published_table_intervals_hold_and_the_ridge_is_met(shared, device):
    with np.load(shared / "nb201_latency_help.npz") as table:
        values = table["latency_ms"][list(table["devices"]).index(device)].astype(float)
        rows = table["ops"].astype(np.int32)
    space = make_space(
        "nasbench201", {"channels": 16, "cells": 5}, input_shape=(32, 32, 3), num_outputs=10
    )
    order = np.random.default_rng(6).permutation(len(rows))
    train, test = order[:900], order[900:]
    observed = Observations(rows[train], {"latency_ms": values[train]})
    scores = {}
    for kind in (LinearEnsemble, MLPEnsemble):
        model = kind.fit(
            space, observed, TrainedOptions(steps=600) if kind is MLPEnsemble else None
        )
        predicted = predict_architectures(model, rows, space.num_options)["latency_ms"]
        deviation = std_architectures(model, rows, space.num_options)["latency_ms"]
        covered = np.abs(predicted - values) <= 1.6449 * deviation
        assert 0.85 <= covered[test].mean() <= 0.95
        scores[kind] = spearmanr(predicted[test], values[test]).statistic
    assert scores[MLPEnsemble] > scores[LinearEnsemble] - 0.01
    position = rows @ 5 ** np.arange(5, -1, -1)
    costs = np.empty(len(rows))
    costs[position] = predicted
    predict = jax.jit(jax.value_and_grad(lambda weight: model.predict(weight)["latency_ms"]))
    for temperature in (5.0, 1.0, 0.1):
        cosine, gap = agreement(
            costs.reshape([5] * 6), predict, np.random.default_rng(7), (6, 5), temperature, 20
        )
        assert cosine > 0.98
        assert gap < 0.01
