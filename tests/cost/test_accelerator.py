"""Simulated accelerators: sums, what is kept, and one real layer where the simulator is there."""

import importlib.util
import math

import numpy as np
import pytest

from hwnas_jax.cost.files.measurement_file import load_measurements, save_measurements
from hwnas_jax.cost.simulate import accelerator as accelerators
from hwnas_jax.cost.simulate import zigzag
from hwnas_jax.cost.simulate.accelerator import (
    TEMPLATES,
    Accelerator,
    simulate_layers,
    simulate_networks,
)
from hwnas_jax.cost.simulate.estimates import estimate, hardware_of
from hwnas_jax.cost.simulate.layers import Layer
from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space

SPACE = make_space(
    "nasbench201", {"channels": 4, "cells": 2}, input_shape=(8, 8, 3), num_outputs=10
)
HARDWARE = Accelerator("eyeriss-like", rows=8, clock_mhz=100.0)
installed = pytest.mark.skipif(
    importlib.util.find_spec("zigzag") is None, reason="needs ZigZag, the extra `accelerator`"
)


@pytest.fixture
def simulated(monkeypatch, tmp_path):
    """A simulator that takes a cycle and two picojoules per multiply-add; returns what it ran."""
    seen = []

    def run(work, jobs, keep, *, done, what, progress=None, workers=None):
        for key, (layer, _) in jobs.items():
            seen.append(layer)
            keep(key, (float(layer.macs), 2.0 * layer.macs))

    monkeypatch.setattr(accelerators, "run_jobs", run)
    monkeypatch.setattr(accelerators, "require_zigzag", lambda: None)
    monkeypatch.setattr(zigzag, "describe", lambda *sizes: {"sizes": list(sizes)})
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    return seen


def macs(row, batch):
    """Multiply-accumulates of a network, counted on paper; 3x3 is option 3, 1x1 option 2."""
    sizes = ((8, 4), (4, 8), (2, 16))
    total = 64 * 27 * 4 + 16 * 10
    for size, channels in sizes:
        per_edge = {2: size**2 * channels**2, 3: 9 * size**2 * channels**2}
        total += 2 * sum(per_edge.get(int(option), 0) for option in row)
    for size, wide in ((4, 8), (2, 16)):
        total += size**2 * wide * (wide // 2) * (9 + 1) + size**2 * 9 * wide**2
    return batch * total


def test_a_network_is_the_sum_of_its_layers(simulated):
    rows = np.array([[3, 2, 2, 3, 1, 3], [0, 0, 0, 1, 0, 0]], np.int32)
    found = simulate_networks(SPACE, rows, HARDWARE, batch_size=3)
    for row, each in zip(rows, found, strict=True):
        expected = macs(row, 3)
        assert each.cycles == expected
        assert each.latency_ms == pytest.approx(expected / 100e3)
        assert each.energy_mj == pytest.approx(2e-9 * expected)


def test_a_layer_is_simulated_once_per_accelerator(simulated):
    rows = SPACE.random(np.random.default_rng(0), 20)
    simulate_networks(SPACE, rows, HARDWARE)
    count = len(simulated)
    assert count == len(set(simulated))
    simulate_networks(SPACE, rows, HARDWARE)
    assert len(simulated) == count
    simulate_networks(SPACE, rows, Accelerator("eyeriss-like", rows=9))
    assert len(simulated) == 2 * count
    # The clock turns cycles into time; it is nothing that is simulated.
    simulate_networks(SPACE, rows, Accelerator("eyeriss-like", rows=8, clock_mhz=300.0))
    assert len(simulated) == 2 * count


def test_the_file_names_the_accelerator(simulated, tmp_path):
    rows = SPACE.random(np.random.default_rng(1), 4)
    save_measurements(estimate(SPACE, rows, HARDWARE, batch_size=2), tmp_path / "file.json")
    found = load_measurements(tmp_path / "file.json", SPACE)
    assert (found.source, found.runtime) == ("simulated", "zigzag")
    assert found.metrics == ("cycles", "latency_ms", "energy_mj")
    assert hardware_of(found) == HARDWARE
    assert found.device["kind"] == "eyeriss-like 8x12, 1024 KiB, 100 MHz"
    (again,) = estimate(SPACE, rows[:1], hardware_of(found), batch_size=2).networks
    assert again == found.networks[0]


def test_measured_files_are_not_estimated_again(simulated, tmp_path):
    import dataclasses

    found = estimate(SPACE, np.zeros((1, 6), np.int32), HARDWARE)
    with pytest.raises(UserError, match="measured, not one of compiler estimate, simulated"):
        hardware_of(dataclasses.replace(found, source="measured"))
    with pytest.raises(UserError, match="does not say its topology, dtype"):
        hardware_of(dataclasses.replace(found, source="compiler estimate"))


def test_a_damaged_layer_is_named(simulated, tmp_path):
    layer = Layer(1, 1, 2, 2)
    simulate_layers([layer], HARDWARE, folder=tmp_path / "kept")
    (file,) = (tmp_path / "kept").iterdir()
    file.write_text('{"cycles": -3, "energy_pj": 1}')
    with pytest.raises(UserError, match=r"\.json: cycles = -3 must be greater than 0; delete it"):
        simulate_layers([layer], HARDWARE, folder=tmp_path / "kept")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"template": "eyeris-like"}, "Did you mean 'eyeriss-like'"),
        ({"rows": 0}, "rows of eyeriss-like must be positive, got 0"),
        ({"clock_mhz": -1.0}, "clock_mhz of eyeriss-like must be positive"),
    ],
)
def test_mistakes_in_an_accelerator(arguments, message):
    with pytest.raises(UserError, match=message):
        Accelerator(**arguments)


def test_without_the_simulator_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"hwnas_jax\[accelerator\]"):
        accelerators.require_zigzag()


@installed
def test_another_version_of_the_simulator_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "3.8.5")
    with pytest.raises(UserError, match=r"3.8.5 is installed, allowed is 3.9.1"):
        accelerators.require_zigzag()


def test_loops_side_by_side_fit_the_array():
    layer = Layer(1, 1, 16, 24, 10, 10, (3, 3))
    (found,) = zigzag.mapping(layer, "eyeriss-like", [14, 12])
    # Ten rows of output leave no room for columns; three of the kernel leave room for 4 channels.
    assert found["spatial_mapping"] == {"D1": ["OY, 10"], "D2": ["FY, 3", "C, 4"]}
    (found,) = zigzag.mapping(layer, "tpu-like", [32, 8])
    assert found["spatial_mapping"] == {"D1": ["K, 24"], "D2": ["C, 8"]}


def test_a_layer_reads_the_image_it_came_from():
    (found,) = zigzag.workload(Layer(1, 1, 4, 8, 4, 4, (3, 3), (2, 2), (1, 1), ((1, 0), (1, 0))))
    assert dict(zip(found["pr_loop_dims"], found["pr_loop_sizes"], strict=True)) == {
        "IY": 8, "IX": 8,
    }  # fmt: skip
    assert math.prod(found["loop_sizes"]) == 4 * 8 * 16 * 9


@pytest.mark.slow
@installed
def test_real_layers(tmp_path):
    """A 1x1 convolution of 16 channels on 32x32 images.

    4,127 cycles on an array of 16x16 were found with the same simulator by hand; 32x32 cannot be
    quicker, since only 16 of its rows and columns have work.
    """
    layer = Layer(1, 1, 16, 16, 32, 32)
    found = [
        simulate_layers(
            [layer], Accelerator("tpu-like", rows=size, columns=size), workers=1, folder=tmp_path
        )[layer]
        for size in (8, 16, 32)
    ]
    cycles = [each.cycles for each in found]
    assert cycles[1] == cycles[2] == 4127
    assert cycles[0] > cycles[1]
    assert found[1].latency_ms == pytest.approx(4127 / 700e3)
    # Arithmetic alone is 0.04 pJ per multiply-add; DRAM makes the rest.
    assert found[1].energy_mj > 0.04e-9 * layer.macs
    assert len(list(tmp_path.iterdir())) == 3


@installed
def test_templates_are_as_the_simulator_has_them():
    for name, template in TEMPLATES.items():
        described = zigzag.describe(name, template.rows, template.columns, template.buffer_kib)
        assert described == zigzag._template(name)
        bigger = zigzag.describe(name, 3, 5, 4 * template.buffer_kib)
        assert bigger["operational_array"]["sizes"][:2] == [3, 5]
        changed = [
            memory for memory, own in bigger["memories"].items()
            if own != described["memories"][memory]
        ]  # fmt: skip
        (buffer,) = changed
        before, after = described["memories"][buffer], bigger["memories"][buffer]
        assert after["size"] == 4 * before["size"]
        assert after["r_cost"] == pytest.approx(2 * before["r_cost"])
