import numpy as np
import pytest

from hwnas_jax.cost.measure.drift import Slowdown, disagreement, find_drift, running_slowdown


def timings(change, *, count=160, references=3, noise=0.02, seed=0, outliers=0.0):
    """Timings of references of 1, 2 and 3 ms at the log slowdown `change(time in 0..1)`."""
    rng = np.random.default_rng(seed)
    at_s = np.sort(rng.uniform(0, 60, count))
    which = np.arange(count) % references
    logs = change(at_s / 60) + noise * rng.standard_normal(count)
    logs += np.where(rng.random(count) < outliers, 1.0, 0.0)
    return at_s, which, (1.0 + which) * np.exp(logs)


def steady(time):
    return np.zeros_like(time)


def step(size):
    return lambda time: np.where(time < 0.4, 0.0, np.log1p(size))


def ramp(size):
    return lambda time: np.log1p(size) * time


def test_without_references_the_slowdown_is_one():
    slowdown = running_slowdown(np.zeros(0), np.zeros(0, int), np.zeros(0))
    assert slowdown.median == 1.0
    np.testing.assert_array_equal(slowdown.at(np.array([0.0, 5.0])), [1.0, 1.0])


def test_running_median_against_a_loop():
    at_s, which, ms = timings(step(0.3), count=50, references=2)
    usual = np.array([1.1, 1.9])
    ratio = ms / usual[which]
    padded = np.concatenate([ratio[3::-1], ratio, ratio[:-5:-1]])
    expected = [np.median(padded[i : i + 9]) for i in range(len(ratio))]
    np.testing.assert_allclose(running_slowdown(at_s, which, ms, usual).ratio, expected)


def test_between_references_the_slowdown_is_interpolated():
    slowdown = Slowdown(np.array([0.0, 2.0]), np.array([1.0, 2.0]))
    np.testing.assert_allclose(slowdown.at(np.array([-1.0, 0.5, 2.0, 9.0])), [1.0, 1.25, 2.0, 2.0])


def test_the_slowdown_is_that_of_the_device_not_of_the_reference():
    at_s, which, ms = timings(step(0.5), noise=0.0)
    slowdown = running_slowdown(at_s, which, ms, np.array([1.0, 2.0, 3.0]))
    assert slowdown.at(np.array([10.0])) == pytest.approx(1.0)
    assert slowdown.at(np.array([50.0])) == pytest.approx(1.5)


@pytest.mark.parametrize("size", [0.05, -0.05, 0.3])
@pytest.mark.parametrize("outliers", [0.0, 0.05])
def test_a_step_is_found_with_its_size_and_place(size, outliers):
    drift = find_drift(*timings(step(size), outliers=outliers))
    assert drift.found
    assert drift.change == pytest.approx(size, abs=0.012)
    assert drift.after_s == pytest.approx(24, abs=4)
    word = "slower" if size > 0 else "faster"
    assert f"{abs(drift.change):.1%} {word} at once after" in drift.words()


def test_a_ramp_is_found_with_its_size():
    drift = find_drift(*timings(ramp(0.1)))
    assert drift.found
    assert drift.after_s is None
    assert drift.change == pytest.approx(0.1, abs=0.02)
    assert "gradually over" in drift.words()
    assert drift.scatter == pytest.approx(0.02, rel=0.3)


def test_noise_alone_is_seldom_taken_for_drift():
    # At a significance of 1 % (and conservatively so for short series) of 300 series.
    found = sum(find_drift(*timings(steady, count=60, seed=seed)).found for seed in range(300))
    assert found <= 9
    drift = find_drift(*timings(steady))
    assert "kept its speed: 160 timings" in drift.words()
    assert drift.p_value > 0.01


def test_a_change_below_one_percent_is_no_drift_however_sure():
    drift = find_drift(*timings(step(0.005), noise=1e-4))
    assert drift.p_value < 1e-6
    assert not drift.found


def test_references_that_differ_from_one_another_are_no_drift():
    at_s, which, ms = timings(steady, noise=0.001)
    which = np.sort(which)  # the large one only at the end
    assert not find_drift(at_s, which, (1.0 + which) * (ms / ms)).found


@pytest.mark.parametrize(("noise", "much"), [(0.02, False), (0.5, True)])
def test_much_scatter_is_told(noise, much):
    words = find_drift(*timings(steady, noise=noise)).words()
    assert ("is the device doing other work?" in words) == much


def test_few_timings_say_so():
    drift = find_drift(*timings(step(0.5), count=7))
    assert not drift.found
    assert "too few" in drift.words()


def test_references_that_slow_down_alike_do_not_disagree():
    _at_s, which, ms = timings(steady, noise=0.0)
    assert disagreement(which, 1.7 * ms, np.array([1.0, 2.0, 3.0])) == pytest.approx(0)
    # Paces of 1, 1.1 and 1.1 * 1.1: log 1.1 from the middle one at the median.
    apart = disagreement(which, ms, np.array([1.0, 2.0 / 1.1, 3.0 / 1.21]))
    assert apart == pytest.approx(1.4826 * np.log(1.1), rel=1e-3)
