"""FairDARTS: gates that do not compete, and a penalty that drives them to zero or one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.relax import FairDARTS, Softmax

MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 1]], bool)
PARAMS = np.array([[3.0, -2.0, 2.5, 0.0], [-1.0, 0.5, 9.0, 4.0]], np.float32)
SIGMOID = np.where(MASK, 1.0 / (1.0 + np.exp(-PARAMS)), 0.0)


def test_gates_are_sigmoids_and_probabilities_their_shares():
    method = FairDARTS()
    found = method.sample(jax.random.key(0), jnp.asarray(PARAMS), MASK, 0.1)
    np.testing.assert_allclose(found.weight, SIGMOID, rtol=1e-6)
    assert found.index is None
    np.testing.assert_allclose(
        method.probabilities(jnp.asarray(PARAMS), MASK),
        SIGMOID / SIGMOID.sum(-1, keepdims=True), rtol=1e-5,
    )  # fmt: skip


def test_probabilities_do_not_divide_by_zero():
    share = FairDARTS().probabilities(jnp.full(MASK.shape, -200.0), MASK)
    np.testing.assert_allclose(share, MASK / MASK.sum(-1, keepdims=True), rtol=1e-6)


def follow(method, slope, steps=400):
    """The gates after following a linear loss and the penalty."""
    import optax

    optimizer = method.optimizer()

    def loss(params):
        gates = method.sample(jax.random.key(0), params, MASK, 1.0)
        return (gates.weight * slope).sum() + method.penalty(params, MASK, 0.5)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    start = method.init(jax.random.key(0), jnp.asarray(MASK))
    (params, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), None, steps)
    return params


def test_two_options_of_a_decision_may_be_favoured_at_once():
    slope = jnp.array([[-1.0, -0.9, 1.0, 1.0], [1.0, -1.0, -9.0, 1.0]])
    method = FairDARTS()
    params = follow(method, slope)
    np.testing.assert_array_equal(
        method.kept(params, MASK), [[True, True, False, False], [False, True, False, False]]
    )
    assert float(method.probabilities(params, MASK)[0, 0]) == pytest.approx(0.5, abs=0.02)
    # With softmax gates, one of the two wins.
    softmax = Softmax()
    share = softmax.probabilities(follow(softmax, slope), MASK)
    assert float(share[0, 0]) > 5 * float(share[0, 1])


def test_the_threshold_decides_what_is_kept():
    for threshold in (0.3, 0.6, 0.94, 0.99):
        found = FairDARTS(threshold=threshold).kept(jnp.asarray(PARAMS), MASK)
        np.testing.assert_array_equal(found, threshold < SIGMOID)


def test_the_penalty_is_the_mean_over_what_exists():
    expected = -7.0 * np.mean((SIGMOID[MASK] - 0.5) ** 2)
    method = FairDARTS(zero_one_weight=7.0)
    found, gradient = jax.value_and_grad(method.penalty)(jnp.asarray(PARAMS), MASK, 0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    by_hand = -7.0 / MASK.sum() * 2 * (SIGMOID - 0.5) * SIGMOID * (1 - SIGMOID)
    np.testing.assert_allclose(gradient, np.where(MASK, by_hand, 0.0), rtol=1e-4, atol=1e-7)
