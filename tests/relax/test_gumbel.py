"""The softmax and Gumbel-softmax relaxations against numpy, counts and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.relax import RELAXATIONS, one_hot_gates

MASK = np.array([[True, True, True], [True, True, False], [True, True, True]])
LOGITS = np.array([[0.3, -1.0, 2.0], [0.5, 0.1, 0.0], [0.0, 0.0, 0.0]], np.float32)
SHARE = np.where(MASK, np.exp(LOGITS), 0.0)
SHARE /= SHARE.sum(-1, keepdims=True)


def gates(name, seed=0, temperature=1.0):
    key = jax.random.key(seed)
    return RELAXATIONS[name]().sample(key, jnp.asarray(LOGITS), MASK, temperature)


def test_softmax_gates_are_the_probabilities_at_every_temperature():
    for temperature in (0.1, 5.0):
        np.testing.assert_allclose(
            gates("softmax", temperature=temperature).weight, SHARE, rtol=1e-5
        )
    probabilities = RELAXATIONS["softmax"]().probabilities(LOGITS, MASK)
    np.testing.assert_allclose(probabilities, SHARE, rtol=1e-5)


@pytest.mark.parametrize("name", ["gumbel_softmax", "straight_through", "sampled_path"])
def test_temperature_to_zero_gives_one_hot(name):
    for seed in range(20):
        weight = np.asarray(gates(name, seed, temperature=1e-4).weight)
        np.testing.assert_allclose(np.sort(weight, -1)[:, -1], 1.0, atol=1e-4)


@pytest.mark.parametrize("name", ["gumbel_softmax", "sampled_path", "advantage", "reinmax"])
@pytest.mark.parametrize("temperature", [0.1, 5.0])
def test_options_are_drawn_by_their_probabilities(name, temperature):
    keys = jax.random.split(jax.random.key(1), 20_000)
    method = RELAXATIONS[name]()
    drawn = jax.vmap(lambda key: method.sample(key, jnp.asarray(LOGITS), MASK, temperature))(keys)
    chosen = np.asarray(drawn.weight).argmax(-1)
    counts = np.stack([np.bincount(row, minlength=3) for row in chosen.T]) / len(keys)
    np.testing.assert_allclose(counts, SHARE, atol=0.015)


@pytest.mark.parametrize("name", ["straight_through", "sampled_path"])
def test_hard_gates_have_the_gradient_of_the_soft_ones(name):
    slope = jnp.arange(9.0).reshape(3, 3)

    def through(relaxation):
        method, key = RELAXATIONS[relaxation](), jax.random.key(5)
        return jax.grad(
            lambda logits: (method.sample(key, logits, MASK, 0.8).weight * slope).sum()
        )(jnp.asarray(LOGITS))

    np.testing.assert_allclose(through(name), through("gumbel_softmax"), rtol=1e-5)


def test_one_hot_gates():
    mixed = one_hot_gates(jnp.array([2, 0]), 3)
    np.testing.assert_array_equal(mixed.weight, np.eye(3)[[2, 0]])
    assert mixed.index is None
    assert one_hot_gates(jnp.array([2, 0]), 3, sampled=True).index.tolist() == [2, 0]
