"""GAEA against the exponentiated gradient in numpy, and the minimiser that it must reach."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hwnas_jax.relax import Gaea
from hwnas_jax.relax.gaea import exponentiated_gradient

MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 1], [0, 1, 0, 0]], bool)
SLOPE = np.array([[3.0, 1.0, 0.5, 2.0], [0.2, 0.9, -9.0, 1.0], [-9.0, 1.0, -9.0, -9.0]])


def on_the_simplex(params):
    params = np.asarray(params)
    assert (params[~MASK] == 0).all() and (params[MASK] > 0).all()
    np.testing.assert_allclose(params.sum(-1), 1.0, rtol=1e-6)


def test_a_step_is_the_published_one():
    rng = np.random.default_rng(0)
    params = np.where(MASK, rng.uniform(1e-5, 1.0, MASK.shape), 0.0)
    params /= params.sum(-1, keepdims=True)
    gradient = 40.0 * rng.normal(size=MASK.shape)
    step = exponentiated_gradient(0.3)
    updates, _ = step.update(gradient, step.init(params), params)
    expected = np.where(MASK, np.maximum(params * np.exp(-0.3 * gradient), 1e-5), 0.0)
    expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(optax.apply_updates(params, updates), expected, atol=1e-6)
    on_the_simplex(optax.apply_updates(params, updates))


def test_it_stays_on_the_simplex_and_reaches_the_minimiser_of_a_linear_loss():
    method = Gaea()
    optimizer = method.optimizer()

    def step(carry, number):
        params, state = carry
        gradient = jax.grad(
            lambda p: (method.sample(jax.random.key(0), p, MASK, 1.0).weight * SLOPE).sum()
        )(params)
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    start = method.init(jax.random.key(0), jnp.asarray(MASK))
    _, seen = jax.lax.scan(step, (start, optimizer.init(start)), jnp.arange(500))
    for params in (start, *seen[:20], *seen[20::60]):
        on_the_simplex(params)
    best = np.where(MASK, SLOPE, np.inf)
    np.testing.assert_array_equal(seen[-1].argmax(-1), best.argmin(-1))
    lowest = best.min(-1).sum()
    assert (np.asarray(seen[-1]) * SLOPE).sum() < lowest + 1e-3
    # Nothing is lost for good: the floor lets an option come back.
    assert np.asarray(seen[-1])[MASK].min() > 0.9e-5


def test_enormous_gradients_stay_finite():
    start = Gaea().init(jax.random.key(0), jnp.asarray(MASK))
    for gradient in (1e6, -1e6):
        step = Gaea().optimizer()
        updates, _ = step.update(jnp.full(MASK.shape, gradient), step.init(start), start)
        on_the_simplex(optax.apply_updates(start, updates))


def test_decay_pulls_towards_even_probabilities():
    method = Gaea(decay=1.0)
    optimizer = method.optimizer()
    params = jnp.asarray(np.where(MASK, [0.7, 0.2, 0.06, 0.04], 0.0), jnp.float32)
    params = params / params.sum(-1, keepdims=True)
    state = optimizer.init(params)
    for _ in range(300):
        updates, state = optimizer.update(jnp.zeros(MASK.shape), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params, MASK / MASK.sum(-1, keepdims=True), atol=1e-3)
