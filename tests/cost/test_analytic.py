import jax
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from tests.cost.toy import FEATURES, WIDTHS, ToySpace, synthetic


def _macs(space, row):
    names = space.to_names(row).values()
    return FEATURES * space.num_outputs + sum(2 * FEATURES * WIDTHS[name] for name in names)


def test_counts_are_those_of_the_built_networks():
    space = ToySpace()
    rows = space.enumerate()[::7]
    counts = predict_architectures(AnalyticModel.count(space), rows, space.num_options)
    assert set(counts) == {"macs", "flops", "params"} == set(AnalyticModel.counted_metrics(space))
    for row, macs, params in zip(rows, counts["macs"], counts["params"], strict=True):
        network = abstract(lambda rngs, row=row: space.network(row, rngs))
        leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
        assert params == sum(leaf.size for leaf in leaves)
        assert macs == _macs(space, row)


def test_the_line_is_the_least_squares_line():
    space = ToySpace()
    rows = space.enumerate()[::5]
    measurements = synthetic(space, rows, noise=0.2)
    model = AnalyticModel.fit(space, measurements.observations(space))
    assert model.metrics == ("macs", "flops", "params", "latency_ms")
    macs = np.array([_macs(space, row) for row in rows])
    slope, intercept = np.polyfit(macs, measurements.latencies_ms, 1)
    predicted = predict_architectures(model, rows, space.num_options)["latency_ms"]
    np.testing.assert_allclose(predicted, intercept + slope * macs, rtol=1e-4)


def test_a_line_needs_two_networks():
    space = ToySpace()
    with pytest.raises(UserError, match="2 measured networks"):
        AnalyticModel.fit(space, synthetic(space, space.enumerate()[:1]).observations(space))
