import dataclasses

import numpy as np
import pytest

from hwnas_jax.config import ProfileConfig
from hwnas_jax.cost import measure
from hwnas_jax.cost.records import load_measurements
from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space
from tests.cost.toy import WIDTHS, CuttableSpace, ToySpace, synthetic

CONFIG = ProfileConfig(networks=4, batch_size=16, rounds=2, warmup=1)


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
    result.save(tmp_path / "m.json")
    assert load_measurements(tmp_path / "m.json", space) == result


def test_timings_are_divided_by_the_pace_of_the_references_in_each_round(monkeypatch):
    space = ToySpace()
    measurements = synthetic(space, space.enumerate()[::9])
    asked = []

    def compile_all(space, architectures, operations, batch_size, on_compiled):
        asked.append(np.asarray(architectures))
        return [lambda: None for _ in architectures], []

    pace = np.array([1.0, 2.0, 2.5])

    def sample_interleaved(calls, **_):
        then = synthetic(space, asked[0]).latencies_ms
        return {name: pace * ms for name, ms in zip(calls, then, strict=True)}

    monkeypatch.setattr(measure, "compile_all", compile_all)
    monkeypatch.setattr(measure, "sample_interleaved", sample_interleaved)
    wanted = space.enumerate()[[1, 80]]
    result = measure.measure_networks(
        space, wanted, measurements, CONFIG, seed=0, around_ms=2.0, references=5
    )
    assert result.drift == pytest.approx(2)
    expected = synthetic(space, wanted).latencies_ms
    assert [timing.median for timing in result.paced] == pytest.approx(expected)
    assert [timing.iqr for timing in result.paced] == pytest.approx([0, 0])
    assert [timing.median for timing in result.clocked] == pytest.approx(2 * expected)
    distance = sorted(abs(np.log(measurements.latencies_ms / 2.0)))
    references = synthetic(space, asked[0][2:]).latencies_ms
    assert sorted(abs(np.log(references / 2.0))) == pytest.approx(distance[:5])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"batch_size": 8}, "batch_size"),
        ({"device": {"platform": "gpu", "kind": "H100"}}, "gpu"),
        ({"architectures": (), "networks": ()}, "no networks"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, reason):
    space = ToySpace()
    measurements = dataclasses.replace(synthetic(space, space.enumerate()[:4]), **change)
    with pytest.raises(UserError, match=reason):
        measure.measure_networks(space, space.enumerate()[:1], measurements, CONFIG, seed=0)


def _macs(space, row):
    return sum(WIDTHS[name] for name in space.to_names(row).values())


def test_the_sample_is_distinct_and_covers_the_range():
    space = ToySpace()
    sample = measure.sample_architectures(space, 30, np.random.default_rng(0))
    assert len(np.unique(sample, axis=0)) == 30
    macs = [_macs(space, row) for row in sample]
    assert min(macs) == 8
    assert max(macs) == 5 * 32
    everything = measure.sample_architectures(space, 1000, np.random.default_rng(0))
    assert sorted(map(tuple, everything)) == sorted(map(tuple, space.enumerate()))


def test_the_sample_holds_a_network_that_is_cut_off():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert (measure.sample_architectures(CuttableSpace(), 12, rng)[:, 0] == 0).any()


def test_a_large_space_is_sampled_to_its_extremes():
    space = make_space(
        "nasbench201", {"channels": 8, "cells": 1}, input_shape=(8, 8, 1), num_classes=10
    )
    sample = measure.sample_architectures(space, 40, np.random.default_rng(0))
    assert len(np.unique(sample, axis=0)) == 40
    assert (sample == 3).all(axis=1).any()
    counts = (sample == 3).sum(axis=1)
    assert np.histogram(counts, bins=[0, 1, 3, 5, 7])[0].min() >= 2
