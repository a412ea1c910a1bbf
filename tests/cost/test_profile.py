import dataclasses
import functools

import jax
import numpy as np
import pytest

from hwnas_jax.config import ProfileConfig
from hwnas_jax.cost.files.environment import describe_device
from hwnas_jax.cost.files.measurement_file import load_measurements, save_measurements
from hwnas_jax.cost.measure import calls, networks, timing
from hwnas_jax.cost.measure import profile as measure
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from tests.cost.toy import OPERATIONS_MS, ToySpace, law_ms, synthetic

CONFIG = ProfileConfig(
    networks=4, held_out=0, batch_size=16, rounds=2, max_rounds=2, warmup=1, budget_s=1e6
)


@pytest.fixture(autouse=True)
def nothing_is_compiled_yet():
    calls.forget_calls()
    yield
    calls.forget_calls()


class FakeRuntime:
    """Networks and operations that take as long as the law says, times a factor of the moment."""

    name, packages = "jax", ("numpy",)

    def __init__(self, monkeypatch, pace):
        self.device, self.options, self.asked = jax.devices()[0], {"threads": 3}, []
        self.now, self.pace = 0.0, pace
        for module in (measure, networks):
            monkeypatch.setattr(module, "make_runtime", lambda config: self)
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def compile_all(self, space, architectures, operations, batch_size, on_compiled):
        assert batch_size == 16
        self.asked = np.asarray(architectures)
        latencies_ms = [law_ms(space, row) for row in architectures]
        latencies_ms += [OPERATIONS_MS[operation.name] for operation in operations]
        calls = [functools.partial(self.run, 1e-3 * ms) for ms in latencies_ms]
        return calls[: len(self.asked)], calls[len(self.asked) :]

    def run(self, seconds):
        self.now += seconds * self.pace(self.now)


def test_profile_times_operations_and_networks(tmp_path):
    space = ToySpace()
    seen = []
    result = measure.profile(space, CONFIG, seed=1, progress=lambda *args: seen.append(args))
    assert list(result.operations) == list(space.operations()[0])
    assert len(np.unique(result.encoded(space), axis=0)) == len(result.networks) == 4
    assert all(row["latency_ms"].repeats == 2 for row in result.networks)
    assert (result.latencies_ms > 0).all()
    assert seen[-1] == (2, 2, "timing")
    assert (7, 7, "compiling") in seen
    save_measurements(result, tmp_path / "m.json")
    assert load_measurements(tmp_path / "m.json", space) == result


def test_a_profile_on_a_device_that_slows_down(monkeypatch):
    space = ToySpace()
    runtime = FakeRuntime(monkeypatch, lambda now: 1.0 + 0.1 * (now > 2.0))
    config = dataclasses.replace(CONFIG, networks=20, rounds=40, max_rounds=40)
    result = measure.profile(space, config, seed=1)
    assert runtime.now > 5
    truth = np.array([law_ms(space, row) for row in result.encoded(space)])
    ratio = result.latencies_ms / truth
    assert np.ptp(ratio) < 0.01 * ratio.mean()  # one speed for all, whichever is usual
    assert 1.0 <= ratio.mean() <= 1.12
    assert result.conditions["drift"] == pytest.approx(0.1, abs=1e-3)
    assert result.conditions["options"] == {"threads": 3}
    assert "numpy" in result.software
    known, drifted = result.notes
    assert "after 40 to 40 timings" in known
    assert "slower at once after 2 of" in drifted


def test_what_is_precise_is_not_timed_again(monkeypatch):
    FakeRuntime(monkeypatch, lambda now: 1.0)
    config = dataclasses.replace(CONFIG, rounds=7, max_rounds=50)
    result = measure.profile(ToySpace(), config, seed=1)
    assert {row["latency_ms"].repeats for row in result.networks} == {7}
    assert result.conditions["drift"] == 0.0
    assert "7 of 7 medians are known to 2.0%" in result.notes[0]


def test_timings_are_divided_by_the_slowdown_of_the_references(monkeypatch):
    space = ToySpace()
    measurements = synthetic(space, space.enumerate()[::9])
    runtime = FakeRuntime(monkeypatch, lambda now: 2.0 + 0.5 * (now > 1.0))
    wanted = space.enumerate()[[1, 80]]
    config = dataclasses.replace(CONFIG, measure_rounds=101, max_rounds=101)
    result = networks.measure_networks(
        space, wanted, measurements, config, seed=0, around_ms=2.0, references=5
    )
    assert runtime.now > 1.5
    assert result.drift == pytest.approx(2.5)
    expected = synthetic(space, wanted).latencies_ms
    assert [timing.median for timing in result.corrected] == pytest.approx(expected)
    assert [timing.iqr for timing in result.corrected] == pytest.approx([0, 0])
    assert [timing.median for timing in result.as_timed] == pytest.approx(2.5 * expected)
    distance = sorted(abs(np.log(measurements.latencies_ms / 2.0)))
    references = synthetic(space, runtime.asked[2:]).latencies_ms
    assert sorted(abs(np.log(references / 2.0))) == pytest.approx(distance[:5])
    assert "25.0% slower" in result.conditions["notes"][1]
    assert "took 2.50 times as long as in the measurement file" in result.conditions["notes"][2]
    assert result.conditions["disagreement"] == pytest.approx(0, abs=0.01)


def test_without_measurements_the_clock_is_believed(monkeypatch):
    space = ToySpace()
    FakeRuntime(monkeypatch, lambda now: 2.0)
    wanted = space.enumerate()[[1, 80]]
    config = dataclasses.replace(CONFIG, measure_rounds=8)
    result = networks.measure_networks(space, wanted, None, config, seed=0)
    expected = 2 * synthetic(space, wanted).latencies_ms
    assert [timing.median for timing in result.corrected] == pytest.approx(expected)
    assert [timing.median for timing in result.as_timed] == pytest.approx(expected)
    assert result.drift == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"batch_size": 8}, "batch_size"),
        ({"runtime": "onnxruntime"}, "'onnxruntime'.*profile.runtime is 'jax'"),
        ({"source": "simulated"}, "simulated"),
        ({"device": {"platform": "gpu", "kind": "H100"}}, "gpu"),
        ({"architectures": (), "networks": ()}, "no networks"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, reason):
    space = ToySpace()
    measurements = dataclasses.replace(synthetic(space, space.enumerate()[:4]), **change)
    with pytest.raises(UserError, match=reason):
        networks.measure_networks(space, space.enumerate()[:1], measurements, CONFIG, seed=0)


def test_a_profile_on_a_device_by_name():
    config = dataclasses.replace(CONFIG, networks=2, device="cpu:3")
    result = measure.profile(ToySpace(), config)
    assert result.conditions["options"] == {"device": "cpu:3"}
    assert result.device == describe_device(jax.devices()[3])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"device": "gpu:77"}, "unknown device 'gpu:77'"),
        ({"threads": 2}, "profile.threads is for"),
        ({"runtime": "onnxruntime", "device": "tpu"}, "unknown device"),
    ],
)
def test_a_device_or_runtime_that_is_not_there_is_refused(change, reason):
    with pytest.raises(UserError, match=reason):
        measure.profile(ToySpace(), dataclasses.replace(CONFIG, **change))


def test_operations_are_timed_only_where_they_help_the_cost_model(monkeypatch):
    space = ToySpace()
    for model, option, timed in (
        (None, None, 3), ("gaussian", None, 0), ("table", None, 3), ("analytic", None, 0),
        ("gaussian", True, 3), ("table", False, 0),
    ):  # fmt: skip
        calls.forget_calls()
        FakeRuntime(monkeypatch, lambda now: 1.0)
        config = dataclasses.replace(CONFIG, operations=option)
        part = None if model is None else Part(model)
        result = measure.profile(space, config, cost_model=part)
        assert len(result.operations) == timed, (model, option)


def test_random_networks_are_timed_beside_the_chosen_ones_and_marked(monkeypatch):
    FakeRuntime(monkeypatch, lambda now: 1.0)
    space = ToySpace()
    config = dataclasses.replace(CONFIG, networks=30, held_out=5, operations=False)
    result = measure.profile(space, config, seed=3)
    assert len(result.networks) == 35 and result.held_out == 5
    assert result.observations(space).held_out == 5
    # By default as many networks as there are free options, between 24 and 64.
    usual = dataclasses.replace(config, networks=None)
    assert len(measure.profile(space, usual).networks) == 24 + 5
    everything = dataclasses.replace(config, networks=161)
    assert measure.profile(space, everything).held_out == 1


def test_networks_that_were_compiled_before_are_not_compiled_again(monkeypatch):
    space, runtime = ToySpace(), FakeRuntime(monkeypatch, lambda now: 1.0)
    config = dataclasses.replace(CONFIG, networks=20, rounds=6, max_rounds=6)
    profiled = measure.profile(space, config, seed=1)
    assert len(runtime.asked) == 20
    known = profiled.encoded(space)
    other = next(row for row in space.enumerate() if row.tolist() not in known.tolist())
    wanted = np.stack([known[3], other, known[5]])
    result = networks.measure_networks(space, wanted, profiled, config, seed=0, references=7)
    np.testing.assert_array_equal(runtime.asked, [other])
    truth = [law_ms(space, row) for row in wanted]
    assert [timing.median for timing in result.corrected] == pytest.approx(truth, rel=0.02)
    networks.measure_networks(space, wanted, None, config, seed=0)
    assert len(runtime.asked) == 0
    # Another batch size, or another device, is another program.
    runtime.options = {"threads": 4}
    networks.measure_networks(space, wanted, None, config, seed=0)
    assert len(runtime.asked) == 3
