import dataclasses

import jax
import numpy as np
import pytest

from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.cost.models.table import TableModel
from hwnas_jax.errors import UserError
from tests.cost.toy import OPERATIONS_MS, CuttableSpace, ToySpace, synthetic


@pytest.fixture
def model():
    space = ToySpace()
    return TableModel.fit(space, synthetic(space, space.enumerate()[:2]).observations(space))


def _by_hand(space, row):
    names = space.to_names(row).values()
    return OPERATIONS_MS["head"] + sum(OPERATIONS_MS.get(name, 0.0) for name in names)


def test_every_architecture_by_hand(model):
    space = ToySpace()
    rows = space.enumerate()
    predicted = predict_architectures(model, rows, space.num_options)["latency_ms"]
    np.testing.assert_allclose(predicted, [_by_hand(space, row) for row in rows], rtol=1e-6)


def test_the_gradient_is_the_table(model):
    gradient = jax.grad(lambda weight: model.predict(weight)["latency_ms"])(np.ones((5, 3), "f"))
    np.testing.assert_allclose(gradient[0], [0, 0.5, 1.5], rtol=1e-6)


def test_a_missing_operation_and_a_foreign_space_are_named():
    space = ToySpace()
    measurements = synthetic(space, space.enumerate()[:2])
    without = dataclasses.replace(measurements, operations={})
    with pytest.raises(UserError, match="no timing of the operation 'narrow'"):
        TableModel.fit(space, without.observations(space))
    with pytest.raises(UserError, match="cuttable"):
        TableModel.fit(CuttableSpace(), measurements.observations(CuttableSpace()))
