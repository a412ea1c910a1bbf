"""Relaxations against numpy, enumeration and their limits."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas_jax.relax.base import RELAXATIONS, one_hot_gates, probabilities

MASK = np.array([[True, True, True], [True, True, False], [True, True, True]])
LOGITS = np.array([[0.3, -1.0, 2.0], [0.5, 0.1, 0.0], [0.0, 0.0, 0.0]], np.float32)


def gates(name, seed=0, logits=LOGITS, temperature=1.0):
    return RELAXATIONS[name](jax.random.key(seed), jnp.asarray(logits), MASK, temperature)


@pytest.mark.parametrize("name", RELAXATIONS)
@given(
    logits=st.lists(st.floats(-5, 5, width=32), min_size=9, max_size=9),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=25, deadline=None)
def test_rows_are_distributions_over_what_exists(name, logits, seed):
    drawn = gates(name, seed, np.array(logits, np.float32).reshape(3, 3))
    assert (np.asarray(drawn.weight) >= -1e-6).all()
    np.testing.assert_allclose(drawn.weight.sum(-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(np.asarray(drawn.weight)[~MASK], 0.0, atol=1e-6)
    if drawn.index is not None:
        assert MASK[np.arange(3), np.asarray(drawn.index)].all()
        np.testing.assert_allclose(drawn.weight[np.arange(3), drawn.index], 1.0, atol=1e-6)


@pytest.mark.parametrize("name", RELAXATIONS)
def test_same_under_jit(name):
    jitted = jax.jit(RELAXATIONS[name])(jax.random.key(3), LOGITS, MASK, 0.7)
    chex.assert_trees_all_close(gates(name, 3, temperature=0.7), jitted, rtol=1e-5)


def test_softmax_is_the_tempered_softmax():
    scaled = np.where(MASK, LOGITS / 0.5, -np.inf)
    expected = np.exp(scaled) / np.exp(scaled).sum(-1, keepdims=True)
    np.testing.assert_allclose(gates("softmax", temperature=0.5).weight, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["gumbel_softmax", "straight_through", "sampled_path"])
def test_temperature_to_zero_gives_one_hot(name):
    for seed in range(20):
        weight = np.asarray(gates(name, seed, temperature=1e-4).weight)
        np.testing.assert_allclose(np.sort(weight, -1)[:, -1], 1.0, atol=1e-4)


def test_softmax_at_low_temperature_is_the_argmax():
    logits = LOGITS.copy()
    logits[2, 1] = 1.0
    weight = gates("softmax", logits=logits, temperature=1e-3)
    np.testing.assert_allclose(weight.weight, np.eye(3)[[2, 0, 1]], atol=1e-5)


@pytest.mark.parametrize("name", ["gumbel_softmax", "sampled_path"])
@pytest.mark.parametrize("temperature", [0.1, 5.0])
def test_options_are_drawn_by_their_probabilities(name, temperature):
    keys = jax.random.split(jax.random.key(1), 20_000)
    drawn = jax.vmap(lambda key: RELAXATIONS[name](key, jnp.asarray(LOGITS), MASK, temperature))(
        keys
    )
    chosen = np.asarray(drawn.weight).argmax(-1)
    counts = np.stack([np.bincount(row, minlength=3) for row in chosen.T]) / len(keys)
    np.testing.assert_allclose(counts, probabilities(jnp.asarray(LOGITS), MASK), atol=0.015)


@pytest.mark.parametrize("name", ["straight_through", "sampled_path"])
def test_hard_gates_have_the_gradient_of_the_soft_ones(name):
    slope = jnp.arange(9.0).reshape(3, 3)

    def through(relaxation):
        return jax.grad(
            lambda logits: (
                RELAXATIONS[relaxation](jax.random.key(5), logits, MASK, 0.8).weight * slope
            ).sum()
        )(jnp.asarray(LOGITS))

    np.testing.assert_allclose(through(name), through("gumbel_softmax"), rtol=1e-5)


def test_one_hot_gates():
    mixed = one_hot_gates(jnp.array([2, 0]), 3)
    np.testing.assert_array_equal(mixed.weight, np.eye(3)[[2, 0]])
    assert mixed.index is None
    assert one_hot_gates(jnp.array([2, 0]), 3, sampled=True).index.tolist() == [2, 0]
