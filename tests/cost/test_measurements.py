import dataclasses
import json
import math

import numpy as np
import pytest

from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.files.measurement_file import load_measurements, save_measurements
from hwnas_jax.cost.files.measurements import Sample
from hwnas_jax.errors import UserError
from tests.cost.toy import CuttableSpace, ToySpace, synthetic


@pytest.fixture
def measurements():
    space = ToySpace()
    return synthetic(space, space.enumerate()[:6])


def test_round_trip(tmp_path, measurements):
    space = ToySpace()
    save_measurements(measurements, tmp_path / "m.json")
    loaded = load_measurements(tmp_path / "m.json", space)
    assert loaded == measurements
    np.testing.assert_array_equal(loaded.encoded(space), space.enumerate()[:6])
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]


def test_file_has_the_documented_keys(tmp_path, measurements):
    save_measurements(measurements, tmp_path / "m.json")
    payload = json.loads((tmp_path / "m.json").read_text())
    assert payload["format"] == "hwnas_jax.measurements"
    assert payload["version"] == 2
    assert (payload["source"], payload["runtime"]) == ("measured", "jax")
    assert payload["units"] == {"latency_ms": "milliseconds per call"}
    assert payload["operations"][0] == {
        "name": "narrow", "metrics": {"latency_ms": {"median": 0.5, "iqr": 0.01, "repeats": 5}},
    }  # fmt: skip
    assert payload["networks"][0]["architecture"]["last"] == "narrow"


def test_failed_save_keeps_the_old_file(tmp_path, measurements):
    path = tmp_path / "m.json"
    save_measurements(measurements, path)
    before = path.read_text()
    bad = dataclasses.replace(measurements, networks=({"latency_ms": Sample(math.nan, 0, 1)},) * 6)
    with pytest.raises(ValueError, match="JSON"):
        save_measurements(bad, path)
    assert path.read_text() == before
    assert len(list(tmp_path.iterdir())) == 1


def _set(*keys_and_value):
    *keys, last, value = keys_and_value

    def change(payload):
        for key in keys:
            payload = payload[key]
        payload[last] = value

    return change


ONE = {"median": 1.0, "iqr": 0.0, "repeats": 1}


def _latency(network):
    return "networks", network, "metrics", "latency_ms"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            _set("format", "other"),
            "is no measurement file: its format is not 'hwnas_jax.measurements'",
        ),
        (_set("version", 1), "version 1"),
        (_set("batch_size", 0), "batch_size"),
        (_set("units", "latency_ms", "seconds"), "says 'seconds', and .* milliseconds per call"),
        (_set("units", "latency_s", "seconds"), "in units 'latency_s'.*did you mean 'latency_ms'"),
        (_set("networks", None), "networks must be a list"),
        (_set(*_latency(2), "median", math.nan), "NaN is no number"),
        (_set(*_latency(2), "median", 0), r"networks\[2\]: latency_ms must be positive.*0"),
        (_set(*_latency(0), "median", -1.0), r"networks\[0\]: latency_ms.*-1"),
        (
            _set(*_latency(0), "median", "fast"),
            r"networks\[0\]\.metrics\.latency_ms\.median = 'fast' must be a number",
        ),
        (_set(*_latency(0), "repeats", 0), r"networks\[0\]: repeats"),
        (_set(*_latency(0), "repeats", 2.5), "repeats = 2.5 must be an integer"),
        (_set(*_latency(0), 3.0), "latency_ms must be a table of keys, got 3.0"),
        (_set("networks", 1, 7), r"networks\[1\] must be a table"),
        (_set("networks", 3, "metrics", {}), r"networks\[3\]: metrics must not be empty"),
        (
            _set("networks", 3, "metrics", {"latency_s": dict(ONE)}),
            r"networks\[3\].*did you mean 'latency_ms'",
        ),
        (
            _set("networks", 3, "metrics", "energy_mj", dict(ONE)),
            r"networks\[3\]: .*the same metrics",
        ),
        (_set("operations", 1, "metrics", "latency_ms", "iqr", -1), r"operations\[1\]: .*spread"),
        (_set("operations", 1, "metrics", "latency_ms", "median", 0), "operation 'wide': latency"),
        (_set("source", "guessed"), "unknown source 'guessed'"),
        (_set("operations", 1, "name", "narrow"), r"operations\[1\]: name"),
        (
            _set("networks", 4, "architecture", "block1", "wyde"),
            r"networks\[4\].*did you mean 'wide'",
        ),
        (_set("space", "name", "cuttable"), "belong to the space"),
        (_set("device", "kind", 5), "kind = 5 must be a string"),
        (_set("conditions", {"notes": 5}), "notes must be a list, got 5"),
        (_set("software", "jax", 5), "software.jax = 5 must be a string"),
        (_set("batch_sise", 1), "mean 'batch_size'"),
    ],
)
def test_a_damaged_file_is_named_with_the_reason(tmp_path, measurements, change, reason):
    path = tmp_path / "m.json"
    save_measurements(measurements, path)
    payload = json.loads(path.read_text())
    change(payload)
    path.write_text(json.dumps(payload))
    with pytest.raises(UserError, match=f"(?is)m.json.*{reason}"):
        load_measurements(path, ToySpace())


def test_truncated_missing_and_binary_files(tmp_path, measurements):
    path = tmp_path / "m.json"
    save_measurements(measurements, path)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(UserError, match=r"m\.json is damaged"):
        load_measurements(path, ToySpace())
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"m\.json: it is not text"):
        load_measurements(path, ToySpace())
    with pytest.raises(UserError, match=r"none\.json"):
        load_measurements(tmp_path / "none.json", ToySpace())


def test_measurements_of_another_space_are_refused(measurements):
    with pytest.raises(UserError, match="cuttable"):
        measurements.encoded(CuttableSpace())


def test_the_device_and_software_are_described():
    assert set(describe_device()) == {"platform", "kind", "count", "host_cpu", "cpu_count"}
    assert set(describe_software()) == {"python", "jax", "jaxlib", "flax", "hwnas_jax"}
