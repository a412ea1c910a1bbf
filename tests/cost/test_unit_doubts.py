"""Doubts about units: told for what is unlikely, refused for what no device of the kind can do."""

import json

import numpy as np
import pytest

from hwnas_jax.cost.files.readers import load_observations
from hwnas_jax.cost.files.unit_checks import running_macs, running_operations
from hwnas_jax.cost.files.unit_doubts import doubt_latencies, kind_of
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.core import published

CELLS = published.nasbench201()
ROWS = CELLS.random(np.random.default_rng(0), 30)
MACS = running_macs(CELLS, ROWS)
LATENCIES = 2 + 1e-7 * MACS  # 1e10 multiply-accumulates a second and two milliseconds beside


def doubts(factor, device="phone"):
    return doubt_latencies(CELLS, ROWS, factor * LATENCIES, device=device)


@pytest.mark.parametrize("device", ["phone", "titan_rtx_1", "xeon", "my board"])
def test_another_unit_is_doubted_and_named(device):
    assert doubts(1, device) == ()
    for factor, unit in ((1e3, "microseconds"), (1e6, "nanoseconds"), (1e-3, "seconds")):
        (said,) = doubts(factor, device)
        assert said.startswith("warning: latency_ms is") and f"are these {unit}" in said
        assert device in said


def test_what_no_device_of_the_kind_can_do_is_refused():
    rate = np.median(MACS / (1e-3 * LATENCIES))
    factor = rate / kind_of("phone").limit / 2
    with pytest.raises(UserError, match="quick for a CPU, a board or a phone"):
        doubts(factor)
    assert len(doubts(factor, "titan_rtx_1")) == 1


def test_a_slow_device_and_large_batches_are_believed():
    macs_per_s = 3e6
    assert doubt_latencies(CELLS, ROWS, 1e3 * MACS / macs_per_s + 1, device="ESP32-S3") == ()
    assert len(doubt_latencies(CELLS, ROWS, 1e3 * MACS / macs_per_s + 1, device="phone")) == 1
    assert doubt_latencies(CELLS, ROWS, 256 * LATENCIES, device="phone", batch_size=256) == ()


def test_running_operations_are_counted():
    counts = running_operations(CELLS, ROWS)
    running = (CELLS.canonical(ROWS) != 0).sum(axis=1)
    # Five cells in each of three stages, and the stem, two reductions and the head.
    np.testing.assert_array_equal(counts, 4 + 5 * 3 * running)


def test_plain_choices_are_not_judged():
    space = published.OnceForAll()
    rows = space.random(np.random.default_rng(0), 3)
    assert doubt_latencies(space, rows, np.full(3, 1e-9), device="phone") == ()


@pytest.mark.parametrize("column", ["latency_ms", "latency_s"])
def test_seconds_in_a_column_of_milliseconds_are_caught_in_a_table_of_a_phone(tmp_path, column):
    """The same figures are fine where the column says that they are seconds."""
    lines = [f"{CELLS.to_string(row)},{ms / 1e3}" for row, ms in zip(ROWS, LATENCIES, strict=True)]
    path = tmp_path / "phone.csv"
    spec = json.dumps(CELLS.spec)
    path.write_text(
        f"# space: {spec}\n# device: Pixel 8\narchitecture,{column}\n" + "\n".join(lines)
    )
    seen = load_observations(path)
    doubted = [note for note in seen.notes if "are these seconds?" in note]
    assert len(doubted) == (column == "latency_ms")
    found = seen.observations.values["latency_ms"]
    np.testing.assert_allclose(found, LATENCIES * (1e-3 if doubted else 1.0))
