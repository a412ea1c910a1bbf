"""ReinMax against exact gradients, by enumeration of all architectures."""

import jax
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.relax import RELAXATIONS, ReinMax
from tests.relax import gradients
from tests.relax.gradients import LOGITS, MASK, linear, quadratic

SLOPE = np.asarray(gradients.SLOPE, float)


def softmax_slope(row, slope):
    return row * slope - row * (row * slope).sum(-1, keepdims=True)


def expected(function, one):
    """The mean over all architectures of an estimate `one(one-hot rows, slope)`."""
    slope = jax.jit(jax.grad(function))
    return sum(
        chance * one(hard, np.asarray(slope(hard), float)) for hard, chance in gradients.draws()
    )


def reinmax(hard, slope, temperature=1.0):
    """The published estimate, with numpy."""
    share, tempered = gradients.share(), gradients.share(temperature=temperature)
    found = 2 * softmax_slope((tempered + hard) / 2, slope) - softmax_slope(share, slope) / 2
    return found - np.where(MASK, found.sum(-1, keepdims=True) / MASK.sum(-1, keepdims=True), 0.0)


def straight_through(hard, slope):
    return softmax_slope(gradients.share(), slope)


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_each_draw_has_the_published_gradient(temperature):
    """The mean over parameters is subtracted here, and is zero without it."""
    method = ReinMax(temperature=temperature)
    for seed in range(5):
        key = jax.random.key(seed)

        def loss(logits, key=key):
            return quadratic(method.sample(key, logits, MASK, 0.1).weight)

        hard = np.asarray(method.sample(key, LOGITS, MASK, 0.1).weight, float)
        slope = np.asarray(jax.grad(quadratic)(hard), float)
        np.testing.assert_allclose(
            jax.grad(loss)(LOGITS), reinmax(hard, slope, temperature), rtol=1e-4, atol=1e-5
        )


def test_draws_have_the_exact_mean_for_a_linear_loss():
    mean, error = gradients.mean_and_error(ReinMax(), linear)
    assert (error[MASK] > 0).all()
    assert (np.abs(mean - gradients.exact(linear)) <= 4 * error + 1e-6).all()


@pytest.mark.parametrize("function", [linear, quadratic])
def test_the_mean_is_exact_for_linear_and_quadratic_losses(function):
    np.testing.assert_allclose(
        expected(function, reinmax), gradients.exact(function), rtol=1e-5, atol=1e-5
    )


def test_straight_through_is_exact_for_a_linear_loss_only():
    np.testing.assert_allclose(
        expected(linear, straight_through), gradients.exact(linear), rtol=1e-5, atol=1e-6
    )
    exact = gradients.exact(quadratic)
    assert np.abs(expected(quadratic, straight_through) - exact).max() > 0.1 * np.abs(exact).max()


def test_the_error_falls_with_the_third_power_and_that_of_straight_through_with_the_second():
    """The loss is an exponential of a linear one, the scale of the gates its expansion's size."""

    def error(one, scale):
        def function(hard):
            return np.exp(scale * (hard * SLOPE).sum())

        mean = sum(
            chance * one(hard, scale * SLOPE * function(hard)) for hard, chance in gradients.draws()
        )
        return np.linalg.norm(mean - gradients.exact(function))

    for one, power in ((straight_through, 2), (reinmax, 3)):
        ratio = error(one, 0.02) / error(one, 0.01)
        assert ratio == pytest.approx(2**power, rel=0.1)
    assert error(reinmax, 0.1) < 0.1 * error(straight_through, 0.1)


def test_a_temperature_below_one_is_refused():
    with pytest.raises(UserError, match=r"temperature = 0\.5 must be greater than or equal to 1"):
        RELAXATIONS.make(Part("reinmax", {"temperature": 0.5}))
