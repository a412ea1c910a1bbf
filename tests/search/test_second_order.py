"""Gradients through the weights' answer, against closed forms, linear solves and differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hwnas_jax.search.second_order import (
    InnerProblem,
    at_rest,
    products,
    step_ahead,
)

from hwnas_jax.config import ParallelConfig
from hwnas_jax.parallel.accumulate import mean_over_micro_batches
from hwnas_jax.parallel.replicas import AXIS, Replicas, mean_over_replicas, own_slice

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(16, 3)), RNG.integers(0, 2, 16).astype(float)
HELD_OUT = RNG.normal(size=(10, 3)), RNG.integers(0, 2, 10).astype(float)
WEIGHTS, LOGITS = RNG.normal(size=4), RNG.normal(size=(2, 3))
STEP = 0.7


def scores(weights, logits, inputs):
    """Two mixed features of every example, then a linear classifier with a bias."""
    shares = jax.nn.softmax(logits, -1)
    mixed = jnp.tanh(inputs @ shares.T * jnp.exp(weights[2]))
    return mixed @ weights[:2] + weights[3]


def logistic(weights, logits, inputs, labels):
    return jnp.mean(jax.nn.softplus(scores(weights, logits, inputs)) - labels * scores(
        weights, logits, inputs
    ))  # fmt: skip


def ridge(weights, logits, inputs, labels):
    return logistic(weights, logits, inputs, labels) + 0.1 * jnp.vdot(weights, weights)


def inner(loss=ridge, data=DATA):
    return InnerProblem(loss, lambda function: function(*data))


def hypergradient(response, logits):
    """The gradient as the search step puts it together."""
    direct, by_weights = jax.grad(logistic, (1, 0))(response.weights, logits, *HELD_OUT)
    return direct + response.through_weights(by_weights)


def differences(function, point, size=1e-5):
    """Central differences of a scalar function, one entry at a time."""
    found = np.zeros_like(point)
    for place in np.ndindex(point.shape):
        shift = np.zeros_like(point)
        shift[place] = size
        found[place] = (function(point + shift) - function(point - shift)) / (2 * size)
    return found


def clipped_momentum(weights, gradient):
    """A step that is not linear in the gradient."""
    gradient = gradient * jnp.minimum(1.0, 0.05 / jnp.linalg.norm(gradient))
    return weights - STEP * (1.9 * gradient + jnp.linspace(0.0, 0.1, weights.size))


def plain(weights, gradient):
    return weights - STEP * gradient


@pytest.mark.parametrize("update", [plain, clipped_momentum])
def test_a_step_ahead_is_the_difference_quotient_of_the_unrolled_loss(update):
    with jax.enable_x64(True):
        weights = jnp.asarray(WEIGHTS)

        @jax.jit
        def unrolled(logits):
            ahead = update(weights, jax.grad(ridge)(weights, logits, *DATA))
            return logistic(ahead, logits, *HELD_OUT)

        found = jax.jit(
            lambda logits: hypergradient(step_ahead(inner(), update, weights, logits), logits)
        )(LOGITS)
        direct = jax.grad(logistic, 1)(weights, jnp.asarray(LOGITS), *HELD_OUT)
        np.testing.assert_allclose(found, differences(unrolled, LOGITS), rtol=1e-6, atol=1e-9)
        assert np.abs(found - direct).max() > 1e-3


def at_the_minimum(logits):
    """The best weights, by Newton's method."""

    def newton(_, weights):
        gradient, hessian = (of(ridge)(weights, logits, *DATA) for of in (jax.grad, jax.hessian))
        damped = hessian + 1e-2 * jnp.linalg.norm(gradient) * jnp.eye(weights.size)
        return weights - jnp.linalg.solve(damped, gradient)

    return jax.lax.fori_loop(0, 30, newton, jnp.asarray(WEIGHTS))


def test_weights_at_rest_are_the_difference_quotient_of_the_best_response():
    with jax.enable_x64(True):
        best = jax.jit(at_the_minimum)
        weights = best(LOGITS)
        assert np.abs(jax.grad(ridge)(weights, LOGITS, *DATA)).max() < 1e-12
        found = jax.jit(
            lambda logits: hypergradient(
                at_rest(inner(), weights, logits, terms=400, step_size=1.5), logits
            )
        )(LOGITS)
        expected = differences(lambda logits: logistic(best(logits), logits, *HELD_OUT), LOGITS)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_weights_at_rest_are_the_linear_solve_term_by_term():
    """Away from a minimum, where the series is cut off early."""
    with jax.enable_x64(True):
        weights, logits = jnp.asarray(WEIGHTS), jnp.asarray(LOGITS)
        both = jax.jit(jax.jacobian(jax.grad(ridge), (0, 1)))
        hessian, mixed = map(np.asarray, both(weights, logits, *DATA))
        vector = RNG.normal(size=weights.size)
        for terms in (1, 2, 5):
            power, inverse = np.eye(weights.size), 0.0
            for _ in range(terms):
                inverse, power = inverse + 0.3 * power, power @ (np.eye(4) - 0.3 * hessian)
            expected = -np.einsum("w,wde->de", inverse @ vector, mixed)
            response = at_rest(inner(), weights, logits, terms=terms, step_size=0.3)
            found = jax.jit(response.through_weights)(vector)
            np.testing.assert_allclose(found, expected, rtol=1e-9)
            assert response.weights is weights


def test_a_quadratic_has_its_closed_form():
    """`T = w'Aw/2 - w'Ba`, `V = |w - c|^2 / 2`: both answers can be written down."""
    a_matrix = np.array([[2.0, 0.5], [0.5, 1.0]])
    b_matrix, center = np.array([[1.0, -1.0, 0.5], [0.0, 2.0, 1.0]]), np.array([0.3, -0.2])
    weights, logits = np.array([1.0, -2.0]), np.array([0.1, 0.2, -0.3])

    def loss(weights, logits):
        return 0.5 * weights @ a_matrix @ weights - weights @ b_matrix @ logits

    problem = InnerProblem(loss, lambda function: function())
    with jax.enable_x64(True):
        ahead = step_ahead(problem, plain, jnp.asarray(weights), jnp.asarray(logits))
        moved = weights - STEP * (a_matrix @ weights - b_matrix @ logits)
        np.testing.assert_allclose(ahead.weights, moved, rtol=1e-12)
        np.testing.assert_allclose(
            ahead.through_weights(moved - center), STEP * b_matrix.T @ (moved - center), rtol=1e-12
        )
        rest = at_rest(problem, jnp.asarray(weights), jnp.asarray(logits), terms=200, step_size=0.5)
        np.testing.assert_allclose(
            rest.through_weights(weights - center),
            b_matrix.T @ np.linalg.solve(a_matrix, weights - center), rtol=1e-9,
        )  # fmt: skip


def test_products_are_with_the_second_derivatives():
    with jax.enable_x64(True):
        weights, logits = jnp.asarray(WEIGHTS), jnp.asarray(LOGITS)
        hessian, mixed = jax.jit(jax.jacobian(jax.grad(ridge), (0, 1)))(weights, logits, *DATA)
        vector = RNG.normal(size=weights.size)
        curved, across = jax.jit(functools.partial(products, inner()))(weights, logits, vector)
        np.testing.assert_allclose(curved, hessian @ vector, rtol=1e-10)
        np.testing.assert_allclose(across, np.einsum("w,wde->de", vector, mixed), rtol=1e-10)


@pytest.mark.parametrize("order", ["second", "implicit"])
@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
def test_replicas_and_micro_batches_mean_the_whole_data(order, backend):
    """Four replicas of two micro-batches each; the step is not linear in the gradient."""
    weights, logits = jnp.asarray(WEIGHTS, jnp.float32), jnp.asarray(LOGITS, jnp.float32)
    data = tuple(np.asarray(part, np.float32) for part in DATA)
    held_out = tuple(np.asarray(part[:8], np.float32) for part in HELD_OUT)

    def respond(problem):
        if order == "second":
            return step_ahead(problem, clipped_momentum, weights, logits)
        return at_rest(problem, weights, logits, terms=4, step_size=0.3)

    def gradient(response, mean):
        slopes = jax.grad(logistic, (1, 0))
        direct, by_weights = mean(lambda *part: slopes(response.weights, logits, *part))
        return direct + response.through_weights(by_weights)

    def replica(state, whole):
        train, valid = own_slice(whole, AXIS)

        def mean_over(part, function):
            return mean_over_replicas(mean_over_micro_batches(function, 2, *part), AXIS)

        problem = InnerProblem(ridge, functools.partial(mean_over, train))
        return state, gradient(respond(problem), functools.partial(mean_over, valid))

    group = Replicas.from_config(ParallelConfig(devices=4, backend=backend))
    _, found = group.compile(replica)(group.place(jnp.zeros(())), group.share((data, held_out)))
    group.check_identical(found)
    expected = gradient(respond(inner(data=data)), lambda function: function(*held_out))
    np.testing.assert_allclose(group.read(found), expected, rtol=1e-4, atol=1e-6)
