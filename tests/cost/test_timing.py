import gc
import math

import numpy as np
import pytest
from scipy import stats

from hwnas_jax.cost.measure import timing


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


RULE = timing.StoppingRule(4, 4, 0.02)


def sample(calls, rule=RULE, **options):
    return timing.sample_interleaved(calls, rule, **{"warmup": 0, "seed": 0, **options})


def test_latency_per_call_and_inner_repeats(monkeypatch):
    clock = Clock(monkeypatch)
    result = sample({"quick": clock.call("quick", 0.0001), "slow": clock.call("slow", 0.02)})
    assert result.as_timed("quick").median == pytest.approx(0.1)
    assert result.as_timed("slow").median == pytest.approx(20)
    assert result.as_timed("slow").iqr == pytest.approx(0, abs=1e-9)
    assert result.as_timed("slow").repeats == 4
    # Three calls to set the inner count, then one untimed and 10 (or 1) timed calls per round.
    assert clock.order.count("quick") in (3 + 4 * 11, 3 + 4 * 12)
    assert clock.order.count("slow") == 3 + 4 * 2


def test_every_round_times_all_in_a_fresh_order(monkeypatch):
    clock = Clock(monkeypatch)
    names = list("abcde")
    rounds = []
    sample(
        {name: clock.call(name, 1.0) for name in names}, timing.StoppingRule(6, 9, 0.02), warmup=2,
        on_round=lambda done, most: rounds.append((done, most)),
    )  # fmt: skip
    timed = np.array(clock.order[5 * len(names) :]).reshape(6, len(names), 2)
    assert (timed[..., 0] == timed[..., 1]).all()
    assert all(sorted(row) == names for row in timed[..., 0].tolist())
    assert len({tuple(row) for row in timed[..., 0].tolist()}) > 3
    assert rounds == [*((i, 9) for i in range(1, 6)), (6, 6)]


def test_a_reference_is_timed_before_every_third_timing(monkeypatch):
    clock = Clock(monkeypatch)
    calls = {name: clock.call(name, 0.01) for name in "abcd"}
    references = [clock.call("R", 0.01), clock.call("S", 0.01)]
    sample(calls, timing.StoppingRule(3, 3, 0.02), references=references, every=3)
    order = clock.order[3 * 6 :: 2]  # what sets the inner counts is left out, and untimed calls
    assert len(order) == 12 + 4 + 1
    places = [i for i, name in enumerate(order) if name in "RS"]
    assert places == [0, 4, 8, 12, 16]
    assert sorted(order[:5:4]) == sorted(order[8:13:4]) == ["R", "S"]


def test_drift_is_divided_out(monkeypatch):
    clock = Clock(monkeypatch)

    def slowing(base):
        return lambda n: base * (1 + n / 400)

    calls = {name: clock.call(name, slowing(0.01 * (1 + i))) for i, name in enumerate("abcd")}
    reference = clock.call("R", slowing(0.02))
    rule = timing.StoppingRule(41, 41, 0.02)
    result = sample(calls, rule, references=[reference], usual_ms=np.array([20.0]), every=2)
    assert result.drift.found
    assert result.drift.after_s is None
    assert result.slowdown.median > 1.3
    for i, name in enumerate("abcd"):
        assert result.corrected(name).median == pytest.approx(10.0 * (1 + i), rel=0.02)
        assert result.corrected(name).iqr < 0.02 * result.as_timed(name).iqr * 10
        assert result.as_timed(name).median > 13.0 * (1 + i)


def test_only_what_is_not_precise_is_timed_again(monkeypatch):
    clock, rng = Clock(monkeypatch), np.random.default_rng(0)
    names = [f"noisy{number}" for number in range(40)]
    calls = {
        name: clock.call(name, lambda n: 0.01 * np.exp(0.05 * rng.standard_normal()))
        for name in names
    }
    calls["steady"] = clock.call("steady", 0.01)
    result = sample(calls, timing.StoppingRule(15, 1000, 0.03))
    assert len(result.series["steady"].ms) == 15
    rounds = [len(result.series[name].ms) for name in names]
    # A normal median's interval is 2 * 1.96 * sqrt(pi / 2) * deviation / sqrt(rounds) wide.
    wanted = (2 * 1.96 * math.sqrt(math.pi / 2) * 0.05 / 0.03) ** 2
    assert 0.7 < np.median(rounds) / wanted < 1.5
    assert max(result.widths.values()) <= 0.03
    errors = [abs(result.as_timed(name).median / 10 - 1) for name in names]
    assert sum(error > 0.015 for error in errors) <= 6  # of 40; 2 are expected at 95 %
    assert f"41 of 41 medians are known to 3.0% (95% confidence) after 15 to {max(rounds)}" in (
        result.words(0.03)
    )


def test_rounds_and_time_bound_what_never_gets_precise(monkeypatch):
    clock, rng = Clock(monkeypatch), np.random.default_rng(0)
    calls = {"noisy": clock.call("noisy", lambda n: rng.uniform(0.01, 1.0))}
    result = sample(calls, timing.StoppingRule(10, 25, 1e-6))
    assert len(result.series["noisy"].ms) == 25
    assert "0 of 1" in result.words(1e-6)
    assert f"the worst to {result.widths['noisy']:.1%}" in result.words(1e-6)
    late = sample(calls, timing.StoppingRule(10, 25, 1e-6, deadline_s=clock.now))
    assert len(late.series["noisy"].ms) == 10


def test_median_and_interquartile_range(monkeypatch):
    clock = Clock(monkeypatch)
    seconds = iter([0.005] * 3 + [v for s in (1, 2, 3, 4, 100) for v in (0.0, s)])
    result = sample(
        {"a": clock.call("a", lambda n: next(seconds))}, timing.StoppingRule(5, 5, 0.02)
    ).as_timed("a")
    assert result.median == pytest.approx(3000)
    assert result.iqr == pytest.approx(2000)


@pytest.mark.parametrize("count", [6, 9, 30, 101])
def test_the_interval_holds_the_median_as_often_as_it_says(count):
    # Of a skewed distribution, whose median is ln 2.
    rng = np.random.default_rng(count)
    ends = [timing.median_interval(rng.exponential(size=count)) for _ in range(4000)]
    share = np.mean([low <= math.log(2) <= high for low, high in ends])
    assert share >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 4000)
    assert share < 0.985
    ranks = np.sort(rng.permutation(count) + 1.0)
    low, high = timing.median_interval(ranks)
    inside = stats.binom.cdf(high - 1, count, 0.5) - stats.binom.cdf(low - 1, count, 0.5)
    assert inside >= 0.95


def test_five_samples_cannot_tell():
    assert timing.median_interval(np.ones(5)) == (-math.inf, math.inf)
    assert timing.relative_width(np.ones(5)) == math.inf
    assert timing.relative_width(np.ones(6)) == 0


def test_garbage_collection_is_off_while_timing_and_on_after_a_failure():
    seen = []

    def fail(done, most):
        seen.append(gc.isenabled())
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        sample({"a": lambda: None}, timing.StoppingRule(2, 2, 0.02), on_round=fail)
    assert seen == [False]
    assert gc.isenabled()


@pytest.mark.parametrize("rounds", [(0, 5), (5, 4)])
def test_rounds_must_be_positive_and_in_order(rounds):
    with pytest.raises(ValueError, match="rounds"):
        timing.StoppingRule(*rounds, 0.02)
