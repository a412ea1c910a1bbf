import dataclasses

import jax
import numpy as np
import pytest

from hwnas_jax.cost.models.base import predict_architectures, std_architectures
from hwnas_jax.cost.models.mlp import MLPEnsemble
from hwnas_jax.errors import UserError
from tests.cost.toy import CuttableSpace, ToySpace, law_ms, synthetic

OPTIONS = MLPEnsemble.Options(members=4, hidden=16, steps=600)
# One space for all fits, so that they share one compiled training.
SPACE = ToySpace()


def _fit(space, noise=0.02, **changes):
    rows = space.random(np.random.default_rng(3), 75)
    measurements = dataclasses.replace(synthetic(space, rows, noise), **changes)
    return MLPEnsemble.fit(space, measurements.observations(space), OPTIONS, seed=0)


@pytest.fixture(scope="module")
def model():
    return _fit(SPACE)


def _errors(model, space):
    rows = space.enumerate()
    truth = np.array([law_ms(space, row) for row in rows])
    predicted = predict_architectures(model, rows, space.num_options)["latency_ms"]
    return np.abs(predicted - truth) / truth


def test_the_law_behind_the_measurements_is_learned(model):
    errors = _errors(model, SPACE)
    assert errors.mean() < 0.03
    assert np.percentile(errors, 95) < 0.07


def test_it_learns_without_timed_operations():
    assert _errors(_fit(SPACE, operations={}), SPACE).mean() < 0.04


def test_what_cannot_reach_the_output_costs_nothing():
    space = CuttableSpace()
    model = _fit(space)
    cut = space.enumerate()[:, 0] == 0
    errors = _errors(model, space)
    assert errors[~cut].mean() < 0.03
    assert errors[cut].max() < 0.15


def test_the_deviation_covers_the_noise(model):
    space = SPACE
    noisy = _fit(space, noise=0.2)
    assert 0.1 < float(noisy.noise[0]) < 0.4
    assert float(model.noise[0]) < 0.06
    rows = space.enumerate()
    fresh = synthetic(space, rows, noise=0.2, seed=9).latencies_ms
    mean = predict_architectures(noisy, rows, space.num_options)["latency_ms"]
    deviation = std_architectures(noisy, rows, space.num_options)["latency_ms"]
    assert 0.5 < (np.abs(fresh - mean) < deviation).mean() < 0.9


def test_between_two_architectures_the_cost_stays_between(model):
    space = SPACE
    predict = jax.jit(jax.vmap(lambda w: model.predict(w)["latency_ms"]))
    eye = np.eye(3, dtype=np.float32)
    rng = np.random.default_rng(0)
    for row in space.random(rng, 10):
        cheap, dear = row.copy(), row.copy()
        cheap[1], dear[1] = 0, 2
        share = np.linspace(0, 1, 9, dtype=np.float32)[:, None, None]
        path = np.asarray(predict((1 - share) * eye[cheap] + share * eye[dear]))
        assert (np.diff(path) > 0).all()


def test_a_fit_is_repeatable(model):
    weight = np.random.default_rng(0).dirichlet(np.ones(3), size=5).astype(np.float32)
    again = _fit(SPACE).predict(weight)["latency_ms"]
    assert float(again) == float(model.predict(weight)["latency_ms"])


def test_without_networks_it_cannot_be_fitted():
    space = SPACE
    with pytest.raises(UserError, match="needs 4 measured"):
        MLPEnsemble.fit(space, synthetic(space, []).observations(space), OPTIONS)
