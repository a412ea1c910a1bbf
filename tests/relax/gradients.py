"""Exact gradients by enumeration, to hold the estimates of relaxations against."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

MASK = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool)
LOGITS = np.array([[0.4, -0.6, 0.2, 0.0], [0.0, 0.9, -0.3, 0.5]], np.float32)


def share(logits=LOGITS, temperature=1.0):
    raised = np.where(MASK, np.exp(np.asarray(logits, float) / temperature), 0.0)
    return raised / raised.sum(-1, keepdims=True)


def draws():
    """Every architecture: its one-hot rows and its probability."""
    rows = [np.flatnonzero(row) for row in MASK]
    for chosen in itertools.product(*rows):
        hard = np.eye(MASK.shape[1])[list(chosen)]
        yield hard, np.prod((share() * hard).sum(-1))


def exact(function):
    """The gradient of the mean of `function(one-hot rows)` over all architectures."""
    return sum(chance * float(function(hard)) * (hard - share()) for hard, chance in draws())


def mean_and_error(method, function, temperature=1.0, count=20_000):
    """The mean gradient of many draws, and its standard error."""

    def one(key):
        return jax.grad(lambda p: function(method.sample(key, p, MASK, temperature).weight))(
            jnp.asarray(LOGITS)
        )

    found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(7), count)))
    return found.mean(0), found.std(0) / np.sqrt(count)


SLOPE = jnp.array([[1.0, -2.0, 0.5, 9.0], [0.3, 2.0, -1.0, 0.0]])
CURVE = np.random.default_rng(0).normal(size=(8, 8)) + 2 * np.eye(8)


def linear(gates):
    return (gates * SLOPE).sum()


def quadratic(gates):
    flat = gates.reshape(-1)
    return linear(gates) + flat @ jnp.asarray(CURVE) @ flat
