import time

import jax
import numpy as np
import pytest

from hwnas_jax.config import CostConfig
from hwnas_jax.cost import COST_MODELS, CostModel, predict_architectures
from hwnas_jax.cost.models.base import is_exact
from hwnas_jax.cost.models.table import TableModel
from tests.cost.toy import CuttableSpace, ToySpace, synthetic


@pytest.mark.parametrize("count", [0, 1, 5, 2048, 5000])
def test_chunks_agree_with_one_at_a_time(count):
    space = ToySpace()
    model = TableModel.fit(space, synthetic(space, space.enumerate()[:2]).observations(space))
    rows = space.random(np.random.default_rng(0), count)
    predicted = predict_architectures(model, rows, space.num_options)["latency_ms"]
    assert predicted.shape == (count,)
    for i in range(0, count, max(1, count // 4)):
        weight = np.eye(space.num_options, dtype=np.float32)[rows[i]]
        one = jax.jit(model.predict)(weight)["latency_ms"]
        assert predicted[i] == pytest.approx(float(one))


def test_many_architectures_are_quick():
    space = ToySpace()
    model = TableModel.fit(space, synthetic(space, space.enumerate()[:2]).observations(space))
    rows = space.random(np.random.default_rng(0), 15_625)
    predict_architectures(model, rows, space.num_options)
    start = time.perf_counter()
    predict_architectures(model, rows, space.num_options)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("name", ["gaussian", "bayesian", "linear", "table", "analytic", "mlp"])
def test_models_know_whether_soft_gates_give_the_expectation(name):
    """The search takes those at their word, and draws architectures for all others."""
    space = CuttableSpace()
    rows = space.enumerate()
    observed = synthetic(space, rows[::3], noise=0.02).observations(space)
    model = COST_MODELS[name][1].fit(space, observed, CostConfig(steps=200, members=2), seed=0)
    costs = predict_architectures(model, rows, space.num_options)["latency_ms"]
    gaps = []
    for seed in range(5):
        weight = space.mask * np.random.default_rng(seed).uniform(0.1, 1, space.mask.shape)
        weight /= weight.sum(axis=1, keepdims=True)
        chance = weight[np.arange(space.num_decisions), rows].prod(axis=1)
        found = float(model.predict(jax.numpy.asarray(weight, jax.numpy.float32))["latency_ms"])
        gaps.append(abs(found / (chance @ costs) - 1))
    assert is_exact(model) == (max(gaps) < 1e-4), gaps


def test_the_registry_holds_cost_models():
    assert {"mlp", "attention", "linear", "table", "analytic"} <= set(COST_MODELS)
    for name, (summary, kind) in COST_MODELS.items():
        assert kind.name == name
        assert summary and "\n" not in summary
    space = ToySpace()
    assert isinstance(
        TableModel.fit(space, synthetic(space, space.enumerate()[:2]).observations(space)),
        CostModel,
    )
