import numpy as np
import pytest

from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.models import roofline
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.cost.models.roofline import Machine, RooflineModel, measure_machine, operation_bytes
from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space

SPACE = make_space(
    "nasbench201", {"channels": 4, "cells": 2}, input_shape=(8, 8, 3), num_outputs=10
)
MACHINE = Machine(macs_per_s=2e9, bytes_per_s=1e9)


def test_an_operation_moves_its_input_its_output_and_its_weights():
    operation = SPACE.operations()[0]["nor_conv_3x3 8x8x4"]
    kernel, affine_and_statistics = 3 * 3 * 4 * 4, 4 * 4
    image = 8 * 8 * 4
    assert operation_bytes(operation, 7) == 4 * (2 * 7 * image + kernel + affine_and_statistics)


def test_each_operation_is_bound_by_the_slower_of_both():
    """A 3x3 convolution of 16 channels at 2x2 multiplies 9216 times, a pooling not at all."""
    batch = 32
    model = RooflineModel.build(SPACE, MACHINE, batch)
    alone = np.full(6, 0, np.int32)
    alone[3] = 3  # one 3x3 convolution from input to output
    pooled = np.where(alone == 3, 4, 0).astype(np.int32)
    none = predict_architectures(model, np.stack([alone, pooled, 0 * alone]), 5)["latency_ms"]
    convolutions = pools = 0.0
    for size, channels in ((8, 4), (4, 8), (2, 16)):
        moved = 2 * 4 * batch * size * size * channels
        weights = 4 * (9 * channels**2 + 4 * channels)
        work = batch * size * size * 9 * channels**2
        convolutions += 2 * max(work / 2e9, (moved + weights) / 1e9)
        pools += 2 * moved / 1e9
    np.testing.assert_allclose(none[0] - none[2], 1e3 * convolutions, rtol=1e-4)
    np.testing.assert_allclose(none[1] - none[2], 1e3 * pools, rtol=1e-4)


def test_what_does_not_reach_the_output_costs_nothing():
    model = RooflineModel.build(SPACE, MACHINE, 1)
    rows = np.array([[3, 0, 0, 3, 0, 0], [0, 0, 0, 3, 0, 0]], np.int32)
    one, other = predict_architectures(model, rows, 5)["latency_ms"]
    assert one == other


def test_an_operation_that_several_decisions_bring_counts_where_all_do():
    args = {"width": 0.2, "depth": 1, "blocks": 2, "head": 160}
    space = make_space("mnasnet", args, input_shape=(8, 8, 1), num_outputs=3)
    model = RooflineModel.build(space, MACHINE, 2)
    operations, places = space.operations()
    rows = space.random(np.random.default_rng(0), 20)
    expected = []
    for row in space.canonical(rows):
        total = 0.0
        for place in places:
            if all(row[decision] == option for decision, option in place.when):
                operation = operations[place.operation]
                bytes_s = operation_bytes(operation, 2) / MACHINE.bytes_per_s
                total += place.count * max(2 * operation.macs / MACHINE.macs_per_s, bytes_s)
        expected.append(1e3 * total)
    predicted = predict_architectures(model, rows, space.num_options)["latency_ms"]
    np.testing.assert_allclose(predicted, expected, rtol=1e-4)


def test_this_machine_is_measured_and_the_median_network_fits(monkeypatch):
    machine = measure_machine(size=256, mib=16)
    monkeypatch.setattr(roofline, "measure_machine", lambda: machine)
    assert 1e7 < machine.macs_per_s < 1e16
    assert 1e7 < machine.bytes_per_s < 1e14
    rows = SPACE.random(np.random.default_rng(0), 9)
    observed = Observations(rows, {"latency_ms": np.linspace(1.0, 2.0, 9)})
    model = RooflineModel.fit(SPACE, observed)
    predicted = predict_architectures(model, rows, 5)["latency_ms"]
    assert np.median(observed.values["latency_ms"] / predicted) == pytest.approx(1.0, rel=1e-4)


def test_it_needs_a_network():
    with pytest.raises(UserError, match="1 measured network"):
        RooflineModel.fit(SPACE, Observations(np.zeros((0, 6), np.int32), {}))
