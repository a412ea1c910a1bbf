import numpy as np
import pytest

from hwnas_jax.cost.models.calibration import calibrate, out_of_bag


@pytest.mark.parametrize("sigma", [0.02, 0.2])
def test_normal_errors_give_their_own_deviation(sigma):
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.2, 0.4, (4000, 1)) * sigma
    error = np.abs(rng.standard_normal((4000, 1)) * np.hypot(spread, sigma))
    noise, scale = calibrate(error, spread)
    assert noise[0] == pytest.approx(sigma, rel=0.05)
    assert scale[0] == 1


def test_a_spread_that_is_too_wide_is_shrunk():
    rng = np.random.default_rng(1)
    spread = rng.uniform(0.2, 0.4, (4000, 1))
    error = np.abs(rng.standard_normal((4000, 1)) * 0.25 * spread)
    noise, scale = calibrate(error, spread)
    assert noise[0] == 0
    assert scale[0] == pytest.approx(0.25, rel=0.05)


def test_nine_in_ten_lie_within_on_heavy_tails_too():
    rng = np.random.default_rng(2)
    spread = rng.uniform(0.01, 0.02, (2000, 2))
    error = np.abs(rng.standard_t(2, (2000, 2)) * [0.05, 0.001])
    noise, scale = calibrate(error, spread)
    for q in range(2):
        deviation = np.hypot(scale[q] * spread[:, q], noise[q])
        assert (error[:, q] <= 1.6449 * deviation).mean() == pytest.approx(0.9, abs=0.002)


def test_only_members_that_did_not_see_a_network_judge_it():
    members = np.array([[[1.0], [2.0]], [[2.0], [4.0]], [[3.0], [6.0]]])
    draws = np.array([[0, 1], [0, 1], [2, 1]])
    error, spread = out_of_bag(members, np.array([[3.0], [4.0]]), draws)
    # The second network was seen by all; the first is judged by the mean of 1 and 2.
    assert error.shape == (1, 1)
    assert spread[0, 0] == pytest.approx(np.std([1, 2, 3]) / 1.5)
    # Half the squared spread is the two members' own part of the error, a third that of all.
    left = 1 - (1 / 2 - 1 / 3) * spread[0, 0] ** 2
    assert error[0, 0] == pytest.approx(np.sqrt(left))


def test_the_error_of_few_members_is_brought_to_that_of_all():
    rng = np.random.default_rng(3)
    networks, members, sigma, own = 20_000, 20, 0.05, 0.1
    draws = (rng.random((members, networks)) < 0.632).astype(int)
    predictions = 1 + own * rng.standard_normal((members, networks, 1))
    values = 1 + sigma * rng.standard_normal((networks, 1))
    error, _ = out_of_bag(predictions, values, draws)
    truth = np.sqrt(sigma**2 + own**2 / members)
    assert np.sqrt((error**2).mean()) == pytest.approx(truth, rel=0.05)
