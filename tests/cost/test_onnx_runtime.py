import dataclasses
import sys

import jax
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.config import ProfileConfig
from hwnas_jax.cost.files.measurement_file import load_measurements, save_measurements
from hwnas_jax.cost.measure import onnx_runtime as ort
from hwnas_jax.cost.measure import profile as measure
from hwnas_jax.cost.measure.build import compile_all
from hwnas_jax.cost.measure.device import usable_cores
from hwnas_jax.cost.measure.networks import measure_networks
from hwnas_jax.cost.measure.runtimes import make_runtime
from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space
from tests.cost.toy import ToySpace

pytest.importorskip("jax2onnx", reason="the extra `export` is not installed")

CONFIG = ProfileConfig(
    networks=2, batch_size=8, rounds=2, max_rounds=2, warmup=1, runtime="onnxruntime"
)


def cells():
    return make_space(
        "nasbench201", {"channels": 4, "cells": 1}, input_shape=(9, 9, 1), num_outputs=10
    )


@pytest.fixture(scope="module")
def runtime():
    return make_runtime(CONFIG)


@pytest.mark.slow
def test_networks_and_operations_return_what_jax_returns(runtime):
    space = cells()
    operations = list(space.operations()[0].values())
    architectures = [np.array([3, 2, 4, 1, 0, 3]), np.zeros(6, int)]
    done = []
    networks, parts = runtime.compile_all(space, architectures, operations, 5, done.append)
    in_jax = compile_all(space, architectures, operations, 5)
    for call, other in zip(networks, in_jax[0], strict=True):
        np.testing.assert_allclose(call()[0], other(), rtol=1e-4, atol=1e-5)
    for call, other in zip(parts, in_jax[1], strict=True):
        expected = np.asarray(other())
        np.testing.assert_allclose(call()[0], expected, atol=1e-4 * np.abs(expected).max())
    assert done == list(range(1, len(operations) + 3))


def test_a_profile_says_what_ran_it(tmp_path):
    space = ToySpace()
    result = measure.profile(space, CONFIG)
    assert result.runtime == "onnxruntime"
    assert result.conditions["options"]["threads"] == usable_cores()
    assert {"onnxruntime", "jax2onnx"} <= set(result.software)
    assert (result.latencies_ms > 0).all()
    save_measurements(result, tmp_path / "m.json")
    assert load_measurements(tmp_path / "m.json", space) == result
    in_jax = dataclasses.replace(CONFIG, runtime="jax", batch_size=8)
    with pytest.raises(UserError, match=r"'onnxruntime'.*'jax'"):
        measure_networks(space, space.enumerate()[:1], result, in_jax, seed=0)
    beside = measure_networks(
        space, space.enumerate()[:1], result,
        dataclasses.replace(CONFIG, measure_rounds=2), seed=0,
    )  # fmt: skip
    assert beside.corrected[0].median > 0


def test_an_export_that_returns_something_else_is_named(runtime, monkeypatch):
    def wrong(module, shape, name):
        return ort_to_onnx(lambda x: 1.001 * module(x), shape, name=name)

    ort_to_onnx = ort.to_onnx
    monkeypatch.setattr(ort, "to_onnx", wrong)
    with pytest.raises(UserError, match=r"network narrow.* differs from JAX by 0\.001"):
        runtime.compile_all(ToySpace(), [np.array([1, 0, 0, 0, 0])], [], 4)


def test_a_process_keeps_its_number_of_threads(runtime):
    with pytest.raises(UserError, match=r"profile\.threads = 77, but ONNX Runtime has"):
        make_runtime(dataclasses.replace(CONFIG, threads=77))


@pytest.mark.parametrize("package", ["onnxruntime", "jax2onnx"])
def test_without_a_package_the_extra_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{package}.*hwnas_jax\[export\]"):
        make_runtime(CONFIG)


def test_a_module_that_cannot_be_converted_is_named(runtime):
    class Strange(nnx.Module):
        def __call__(self, x):
            return jax.pure_callback(np.sin, x, x)

    with pytest.raises(UserError, match=r"jax2onnx .* cannot convert strange"):
        ort.to_onnx(Strange(), (2, 3), name="strange")
