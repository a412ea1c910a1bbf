"""Gradients through the weights' answer, against closed forms, linear solves and differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.config import ParallelConfig
from hwnas_jax.parallel.accumulate import mean_over_micro_batches
from hwnas_jax.parallel.replicas import AXIS, Replicas, mean_over_replicas, own_slice
from hwnas_jax.relax import Gates
from hwnas_jax.search.estimators import Backprop, Implicit, Problem, SecondOrder
from hwnas_jax.search.estimators.second_derivatives import inner_problem, products

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(16, 3)), RNG.integers(0, 2, 16).astype(float)
HELD_OUT = RNG.normal(size=(10, 3)), RNG.integers(0, 2, 10).astype(float)
WEIGHTS, LOGITS = RNG.normal(size=4), RNG.normal(size=(2, 3))
KEY = jax.random.key(0)
STEP, DECAY = 0.7, 0.2


def logistic(weights, gates, inputs, labels):
    """Two mixed features of every example, then a linear classifier with a bias."""
    mixed = jnp.tanh(inputs @ gates.weight.T * jnp.exp(weights[2]))
    scores = mixed @ weights[:2] + weights[3]
    return jnp.mean(jax.nn.softplus(scores) - labels * scores), {"mean": scores.mean()}


def softmax_gates(key, logits):
    return Gates(jax.nn.softmax(logits, -1))


def noisy_gates(key, logits):
    return Gates(jax.nn.softmax(logits + jax.random.gumbel(key, logits.shape), -1))


def plain(weights, gradient):
    return weights - STEP * gradient


def clipped_momentum(weights, gradient):
    """A step that is not linear in the gradient, with a decay of its own."""
    gradient = gradient * jnp.minimum(1.0, 0.05 / jnp.linalg.norm(gradient))
    return 0.99 * weights - STEP * (1.9 * gradient + jnp.linspace(0.0, 0.1, weights.size))


def problem(weights=WEIGHTS, sample=softmax_gates, update=plain, train=None, valid=None, **others):
    return Problem(
        weights=jnp.asarray(weights), loss=logistic, sample=sample,
        probabilities=lambda logits: jax.nn.softmax(logits, -1),
        validation=valid or (lambda function: function(*HELD_OUT)),
        training=train or (lambda function: function(*DATA)),
        update=update, weight_decay=DECAY, learning_rate=jnp.asarray(0.3),
    )._replace(**others)  # fmt: skip


def estimate(estimator, made, logits=LOGITS):
    found, state = jax.jit(lambda logits: estimator.estimate(KEY, logits, (), made))(
        jnp.asarray(logits)
    )
    assert state == ()
    return found


def differences(function, point, size=1e-5):
    """Central differences of a scalar function, one entry at a time."""
    found = np.zeros_like(point)
    for place in np.ndindex(point.shape):
        shift = np.zeros_like(point)
        shift[place] = size
        found[place] = (function(point + shift) - function(point - shift)) / (2 * size)
    return found


def decayed(weights, logits, data=DATA):
    """What the weights minimise, their decay included."""
    return logistic(weights, softmax_gates(None, logits), *data)[0] + DECAY / 2 * jnp.vdot(
        weights, weights
    )


@pytest.mark.parametrize(
    ("estimator", "update", "sample"),
    [
        (SecondOrder(), clipped_momentum, softmax_gates),
        (SecondOrder(), clipped_momentum, noisy_gates),
        (SecondOrder(inner_step_size=STEP), None, softmax_gates),
    ],
    ids=["optimizer", "one-draw-for-both-halves", "plain-step"],
)
def test_second_order_is_the_difference_quotient_of_the_unrolled_loss(estimator, update, sample):
    with jax.enable_x64(True):
        made = problem(sample=sample, update=update)

        @jax.jit
        def unrolled(logits):
            gates = sample(KEY, logits)
            slope = jax.grad(lambda w: logistic(w, gates, *DATA)[0])(made.weights)
            return logistic((update or plain)(made.weights, slope), gates, *HELD_OUT)[0]

        found = estimate(estimator, made)
        np.testing.assert_allclose(found.loss, unrolled(LOGITS), rtol=1e-10)
        np.testing.assert_allclose(
            found.gradient, differences(unrolled, LOGITS), rtol=1e-6, atol=1e-9
        )
        direct = estimate(Backprop(), made).gradient
        assert np.abs(found.gradient - direct).max() > 1e-4


def at_the_minimum(logits):
    """The best weights, by Newton's method."""

    def newton(_, weights):
        gradient, hessian = (of(decayed)(weights, logits) for of in (jax.grad, jax.hessian))
        damped = hessian + 1e-2 * jnp.linalg.norm(gradient) * jnp.eye(weights.size)
        return weights - jnp.linalg.solve(damped, gradient)

    return jax.lax.fori_loop(0, 30, newton, jnp.asarray(WEIGHTS))


def test_implicit_is_the_difference_quotient_of_the_best_response():
    """The minimum is that of the loss with its weight decay."""
    with jax.enable_x64(True):
        best = jax.jit(at_the_minimum)
        weights = best(LOGITS)
        assert np.abs(jax.grad(decayed)(weights, LOGITS)).max() < 1e-12

        def answered(logits):
            return logistic(best(logits), softmax_gates(None, logits), *HELD_OUT)[0]

        found = estimate(Implicit(terms=400, inner_step_size=1.5), problem(weights=weights))
        np.testing.assert_allclose(
            found.gradient, differences(answered, LOGITS), rtol=1e-6, atol=1e-9
        )
        np.testing.assert_allclose(found.loss, answered(LOGITS), rtol=1e-10)


def test_implicit_is_the_linear_solve_term_by_term():
    """Away from a minimum, where the series is cut off early."""
    with jax.enable_x64(True):
        made = problem()
        weights, logits = made.weights, jnp.asarray(LOGITS)
        both = jax.jit(jax.jacobian(jax.grad(decayed), (0, 1)))
        hessian, mixed = map(np.asarray, both(weights, logits))
        of_validation = jax.jit(
            jax.grad(lambda w, a: logistic(w, softmax_gates(None, a), *HELD_OUT)[0], (0, 1))
        )
        vector, direct = map(np.asarray, of_validation(weights, logits))
        # Without a step size the series takes the weights' learning rate, 0.3.
        for terms, step in ((1, 0.3), (5, None)):
            power, inverse = np.eye(4), 0.0
            for _ in range(terms):
                inverse, power = inverse + 0.3 * power, power @ (np.eye(4) - 0.3 * hessian)
            expected = direct - np.einsum("w,wde->de", inverse @ vector, mixed)
            found = estimate(Implicit(terms=terms, inner_step_size=step), made)
            np.testing.assert_allclose(found.gradient, expected, rtol=1e-9)


def test_a_quadratic_has_its_closed_form():
    """`T = w'Aw/2 - w'Ba`, `V = |w - c|^2 / 2`: both answers can be written down."""
    a_matrix = np.array([[2.0, 0.5], [0.5, 1.0]])
    b_matrix, center = np.array([[1.0, -1.0, 0.5], [0.0, 2.0, 1.0]]), np.array([0.3, -0.2])
    weights, logits = np.array([1.0, -2.0]), np.array([0.1, 0.2, -0.3])

    def loss(weights, gates, half):
        if half == "validation":
            return 0.5 * jnp.vdot(weights - center, weights - center), ()
        return 0.5 * weights @ a_matrix @ weights - weights @ b_matrix @ gates.weight, ()

    with jax.enable_x64(True):
        made = problem(
            weights, lambda key, logits: Gates(logits), plain,
            lambda function: function("training"), lambda function: function("validation"),
            loss=loss, weight_decay=0.0,
        )  # fmt: skip
        ahead = estimate(SecondOrder(), made, logits)
        moved = weights - STEP * (a_matrix @ weights - b_matrix @ logits)
        np.testing.assert_allclose(ahead.loss, 0.5 * ((moved - center) ** 2).sum(), rtol=1e-12)
        np.testing.assert_allclose(ahead.gradient, STEP * b_matrix.T @ (moved - center), rtol=1e-12)
        rest = estimate(Implicit(terms=200, inner_step_size=0.5), made, logits)
        np.testing.assert_allclose(
            rest.gradient, b_matrix.T @ np.linalg.solve(a_matrix, weights - center), rtol=1e-9
        )


def test_products_are_with_the_second_derivatives():
    with jax.enable_x64(True):
        made, logits = problem(), jnp.asarray(LOGITS)
        hessian, mixed = jax.jit(jax.jacobian(jax.grad(decayed), (0, 1)))(made.weights, logits)
        vector = RNG.normal(size=WEIGHTS.size)
        inner = inner_problem(made, KEY, decay=DECAY)
        curved, across = jax.jit(functools.partial(products, inner))(made.weights, logits, vector)
        np.testing.assert_allclose(curved, hessian @ vector, rtol=1e-10)
        np.testing.assert_allclose(across, np.einsum("w,wde->de", vector, mixed), rtol=1e-10)


@pytest.mark.parametrize("estimator", [SecondOrder(), Implicit(terms=4)], ids=lambda e: e.name)
@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
def test_replicas_and_micro_batches_mean_the_whole_data(estimator, backend):
    """Four replicas of two micro-batches each; the step is not linear in the gradient."""
    weights, logits = jnp.asarray(WEIGHTS, jnp.float32), jnp.asarray(LOGITS, jnp.float32)
    data = tuple(np.asarray(part, np.float32) for part in DATA)
    held_out = tuple(np.asarray(part[:8], np.float32) for part in HELD_OUT)

    def gradient(train, valid):
        made = problem(weights, softmax_gates, clipped_momentum, train, valid)
        return estimator.estimate(KEY, logits, (), made)[0].gradient

    def replica(state, whole):
        def mean_over(part, function):
            return mean_over_replicas(mean_over_micro_batches(function, 2, *part), AXIS)

        halves = (functools.partial(mean_over, part) for part in own_slice(whole, AXIS))
        return state, gradient(*halves)

    group = Replicas.from_config(ParallelConfig(devices=4, backend=backend))
    _, found = group.compile(replica)(group.place(jnp.zeros(())), group.share((data, held_out)))
    group.check_identical(found)
    expected = jax.jit(
        lambda: gradient(lambda function: function(*data), lambda function: function(*held_out))
    )()
    np.testing.assert_allclose(group.read(found), expected, rtol=1e-4, atol=1e-6)
