import sys
import types

import numpy as np
import pytest

from hwnas_jax.config import ProfileConfig
from hwnas_jax.cost.measure import energy
from hwnas_jax.cost.measure import profile as measure
from hwnas_jax.errors import UserError
from tests.cost.toy import ToySpace

IDLE_W, UPDATE_S = 50.0, 0.1


class Gpu:
    """A GPU whose counter is brought up to date every tenth of a second, and NVML that reads it."""

    platform, device_kind, id, local_hardware_id = "gpu", "Fake H100", 1, 1

    def __init__(self, monkeypatch):
        self.now, self.joules, self.shown = 0.0, 1000.0, (0, 0)
        self.opened = None

        class NVMLError(Exception):
            pass

        def by_index(number):
            self.opened = number
            return self

        def by_uuid(text):
            self.opened = text
            return self

        self.nvml = types.ModuleType("pynvml")
        vars(self.nvml).update(
            NVMLError=NVMLError, nvmlInit=lambda: None, nvmlDeviceGetHandleByIndex=by_index,
            nvmlDeviceGetHandleByUUID=by_uuid, nvmlDeviceGetName=lambda handle: "Fake H100",
            nvmlDeviceGetTotalEnergyConsumption=lambda handle: handle.counter(),
        )  # fmt: skip
        monkeypatch.setitem(sys.modules, "pynvml", self.nvml)
        monkeypatch.setattr(energy.time, "perf_counter", self.read_clock)
        monkeypatch.setattr(energy.time, "sleep", lambda seconds: self.draw(IDLE_W, seconds))

    def read_clock(self):
        return self.now

    def draw(self, watts, seconds):
        self.now += seconds
        self.joules += watts * seconds

    def counter(self):
        tick = int(self.now / UPDATE_S)
        if tick != self.shown[0]:
            self.shown = (tick, int(1e3 * self.joules))
        return self.shown[1]

    def call(self, watts, seconds):
        return lambda: self.draw(watts, seconds)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return Gpu(monkeypatch)


def test_energy_per_call_is_power_times_time(gpu):
    meter = energy.EnergyMeter(gpu)
    assert gpu.opened == 1
    # 300 W for 2 ms are 600 mJ; stretches end up to a call after an update of the counter.
    assert meter.per_call_mj(gpu.call(300.0, 0.002), 0.3) == pytest.approx(600, rel=0.02)
    assert meter.per_call_mj(gpu.call(120.0, 0.05), 0.3) == pytest.approx(6000, rel=0.02)
    assert meter.idle_w() == pytest.approx(IDLE_W, rel=0.02)


def test_every_call_is_counted_in_every_round(gpu):
    calls = [gpu.call(100.0 * k, 0.001) for k in (1, 2, 3)]
    rounds = []
    samples = energy.measure_energy(
        calls, energy.EnergyMeter(gpu), seconds=0.3, seed=0,
        on_round=lambda *done: rounds.append(done),
    )  # fmt: skip
    np.testing.assert_allclose([s.median for s in samples], [100, 200, 300], rtol=0.02)
    assert all(sample.repeats == energy.ROUNDS for sample in samples)
    assert rounds == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("visible", "opened"), [("3,5", 5), ("GPU-a,GPU-b", "GPU-b"), ("4", 1), ("", 1)]
)
def test_the_gpu_is_the_one_that_jax_runs_on(gpu, monkeypatch, visible, opened):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    energy.EnergyMeter(gpu)
    assert gpu.opened == opened


def test_a_counter_that_stands_still_is_named(gpu):
    meter = energy.EnergyMeter(gpu)
    gpu.counter = lambda: 7
    with pytest.raises(UserError, match="stood still"):
        meter.per_call_mj(gpu.call(300.0, 0.002), 0.3)


def test_a_gpu_without_a_counter_is_named(gpu):
    def fail(handle):
        raise gpu.nvml.NVMLError("Not Supported")

    gpu.nvml.nvmlDeviceGetTotalEnergyConsumption = fail
    with pytest.raises(UserError, match="Not Supported"):
        energy.EnergyMeter(gpu)


def test_without_the_package_the_extra_is_named(gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(UserError, match=r"hwnas_jax\[energy\]"):
        energy.EnergyMeter(gpu)


def test_a_profile_on_the_cpu_has_no_energy():
    with pytest.raises(UserError, match="NVIDIA"):
        measure.profile(ToySpace(), ProfileConfig(networks=2, energy=True, device="cpu"))
