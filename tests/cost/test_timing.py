import gc

import numpy as np
import pytest

from hwnas_jax.cost import timing


class Clock:
    """Time passes only in the calls, so that timings have a closed form."""

    def __init__(self, monkeypatch):
        self.now, self.order = 0.0, []
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def call(self, name, seconds):
        def run():
            self.now += seconds(len(self.order)) if callable(seconds) else seconds
            self.order.append(name)

        return run


def test_latency_per_call_and_inner_repeats(monkeypatch):
    clock = Clock(monkeypatch)
    calls = {"quick": clock.call("quick", 0.0001), "slow": clock.call("slow", 0.02)}
    result = timing.time_interleaved(calls, rounds=4, warmup=0, seed=0)
    assert result["quick"].median == pytest.approx(0.1)
    assert result["slow"].median == pytest.approx(20)
    assert result["slow"].iqr == pytest.approx(0, abs=1e-9)
    assert result["slow"].repeats == 4
    # Three calls to set the inner count, then one untimed and 10 (or 1) timed calls per round.
    assert clock.order.count("quick") in (3 + 4 * 11, 3 + 4 * 12)
    assert clock.order.count("slow") == 3 + 4 * 2


def test_every_round_times_all_in_a_fresh_order(monkeypatch):
    clock = Clock(monkeypatch)
    names = list("abcde")
    rounds = []
    timing.time_interleaved(
        {name: clock.call(name, 1.0) for name in names},
        rounds=6, warmup=2, seed=0, on_round=lambda done, total: rounds.append((done, total)),
    )  # fmt: skip
    timed = np.array(clock.order[5 * len(names) :]).reshape(6, len(names), 2)
    assert (timed[..., 0] == timed[..., 1]).all()
    assert all(sorted(row) == names for row in timed[..., 0].tolist())
    assert len({tuple(row) for row in timed[..., 0].tolist()}) > 3
    assert rounds == [(i, 6) for i in range(1, 7)]


def test_drift_hits_all_alike(monkeypatch):
    clock = Clock(monkeypatch)
    drifting = {name: clock.call(name, lambda n: 0.01 * (1 + n / 100)) for name in "abcd"}
    result = timing.time_interleaved(drifting, rounds=41, warmup=1, seed=0)
    latencies = [value.median for value in result.values()]
    assert max(latencies) / min(latencies) < 1.05
    assert latencies[0] > 15


def test_median_and_interquartile_range(monkeypatch):
    clock = Clock(monkeypatch)
    seconds = iter([0.005] * 3 + [v for s in (1, 2, 3, 4, 100) for v in (0.0, s)])
    result = timing.time_interleaved(
        {"a": clock.call("a", lambda n: next(seconds))}, rounds=5, warmup=0, seed=0
    )
    assert result["a"].median == pytest.approx(3000)
    assert result["a"].iqr == pytest.approx(2000)


def test_garbage_collection_is_off_while_timing_and_on_after_a_failure():
    seen = []

    def fail(done, rounds):
        seen.append(gc.isenabled())
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        timing.time_interleaved({"a": lambda: None}, rounds=2, warmup=0, seed=0, on_round=fail)
    assert seen == [False]
    assert gc.isenabled()


def test_rounds_must_be_positive():
    with pytest.raises(ValueError, match="rounds"):
        timing.time_interleaved({}, rounds=0, warmup=0, seed=0)
