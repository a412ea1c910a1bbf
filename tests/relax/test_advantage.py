"""AdvantageNAS' credit, draw by draw and in the mean."""

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.relax import Advantage
from tests.relax import gradients
from tests.relax.gradients import LOGITS, MASK, linear, quadratic

ROWS = np.arange(len(MASK))


def test_each_draw_credits_its_options():
    """The slope of the drawn gate times one-hot minus probabilities; other slopes play no part."""
    for seed in range(5):
        key = jax.random.key(seed)
        drawn = Advantage().sample(key, jnp.asarray(LOGITS), MASK, 0.1)
        hard = np.asarray(drawn.weight)
        np.testing.assert_array_equal(hard, np.eye(4)[np.asarray(drawn.index)])
        slope = np.asarray(jax.grad(quadratic)(drawn.weight))
        expected = (hard * slope).sum(-1, keepdims=True) * (hard - gradients.share())

        def of_all(logits, key=key):
            return quadratic(Advantage().sample(key, logits, MASK, 0.1).weight)

        def of_the_drawn(logits, key=key, slope=slope):
            gates = Advantage().sample(key, logits, MASK, 0.1)
            return (gates.weight * slope)[ROWS, gates.index].sum()

        for function in (of_all, of_the_drawn):
            np.testing.assert_allclose(
                jax.grad(function)(jnp.asarray(LOGITS)), expected, rtol=1e-4, atol=1e-6
            )


def test_draws_have_the_exact_mean_for_a_linear_loss():
    mean, error = gradients.mean_and_error(Advantage(), linear)
    assert (error[MASK] > 0).all()
    assert (np.abs(mean - gradients.exact(linear)) <= 4 * error + 1e-6).all()


def test_for_a_curved_loss_the_mean_is_not_exact():
    """The credit is a first-order change; the bound above would find this."""
    mean, error = gradients.mean_and_error(Advantage(), quadratic)
    assert (np.abs(mean - gradients.exact(quadratic)) > 10 * error)[MASK].any()
