import jax
import numpy as np
import pytest

from hwnas_jax.cost.models.base import _ask, predict_architectures, std_architectures
from hwnas_jax.cost.models.linear import LinearEnsemble
from hwnas_jax.cost.models.table import TableModel
from tests.cost.toy import ToySpace, synthetic

SPACE = ToySpace()


@pytest.fixture(scope="module")
def model():
    return TableModel.fit(SPACE, synthetic(SPACE, SPACE.enumerate()[:2]).observations(SPACE))


@pytest.mark.parametrize("count", [0, 1, 5, 5000])
def test_chunks_agree_with_one_at_a_time(model, count):
    rows = SPACE.random(np.random.default_rng(0), count)
    predicted = predict_architectures(model, rows, SPACE.num_options)["latency_ms"]
    assert predicted.shape == (count,)
    predict = jax.jit(model.predict)
    for i in range(0, count, max(1, count // 4)):
        one = predict(np.eye(SPACE.num_options, dtype=np.float32)[rows[i]])["latency_ms"]
        assert predicted[i] == pytest.approx(float(one))


def test_a_model_without_uncertainty_has_deviations_of_zero(model):
    assert not model.knows_uncertainty
    std = std_architectures(model, SPACE.enumerate()[:7], SPACE.num_options)
    np.testing.assert_array_equal(std["latency_ms"], np.zeros(7))


def test_the_quick_way_is_compiled_once_for_many_counts():
    model = LinearEnsemble.fit(
        SPACE, synthetic(SPACE, SPACE.enumerate()[::9]).observations(SPACE),
        LinearEnsemble.Options(members=2),
    )  # fmt: skip
    predict_architectures(model, SPACE.enumerate()[:70], 3)
    before = _ask._cache_size()
    predict_architectures(model, SPACE.enumerate()[:128], 3)
    assert _ask._cache_size() == before
    predict_architectures(model, SPACE.enumerate()[:129], 3)
    assert _ask._cache_size() == before + 1
