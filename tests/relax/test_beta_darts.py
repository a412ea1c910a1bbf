"""Beta-DARTS' penalty and its gradient by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.relax import BetaDARTS

MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 1]], bool)
LOGITS = np.array([[0.3, -1.0, 2.0, 0.4], [0.5, 0.1, 9.0, -0.7]], np.float32)
RAISED = np.where(MASK, np.exp(LOGITS), 0.0)


def test_the_penalty_and_its_gradient_by_hand():
    for progress in (0.0, 0.25, 1.0):
        method = BetaDARTS(penalty_weight=3.0)
        found, gradient = jax.value_and_grad(method.penalty)(jnp.asarray(LOGITS), MASK, progress)
        np.testing.assert_allclose(
            found, 3.0 * progress * np.log(RAISED.sum(-1)).mean(), rtol=1e-5, atol=1e-7
        )
        share = RAISED / RAISED.sum(-1, keepdims=True)
        np.testing.assert_allclose(gradient, 3.0 * progress * share / 2, rtol=1e-5, atol=1e-7)


def test_the_penalty_alone_evens_the_probabilities():
    """Plain descent: the leading logit falls fastest."""
    method, logits = BetaDARTS(), jnp.asarray(LOGITS)
    before = method.probabilities(logits, MASK).max(-1)
    for _ in range(50):
        logits = logits - 0.5 * jax.grad(method.penalty)(logits, MASK, 1.0)
    after = method.probabilities(logits, MASK)
    assert (after.max(-1) < before - 0.05).all()
    np.testing.assert_array_equal(after.argmax(-1), LOGITS.argmax(-1) * [1, 0])
