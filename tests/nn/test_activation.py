"""Activations against `jax.nn`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.nn.kernels.activation import relu, where_positive

VALUES = jnp.array([-2.0, -0.0, 0.0, 1e-30, 3.0, jnp.inf])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_relu_is_that_of_jax_in_value_and_gradient(dtype):
    x = VALUES.astype(dtype)
    assert relu(x).dtype == dtype
    np.testing.assert_array_equal(relu(x), jax.nn.relu(x))
    gradient = jax.vmap(jax.grad(relu))(x)
    np.testing.assert_array_equal(gradient, jax.vmap(jax.grad(jax.nn.relu))(x))


def test_what_is_no_number_stays_none():
    np.testing.assert_array_equal(relu(jnp.array([jnp.nan, -1.0])), [jnp.nan, 0.0])


def test_what_is_not_positive_is_replaced():
    np.testing.assert_array_equal(where_positive(VALUES, VALUES + 1.0), [0, 0, 0, 1, 4, jnp.inf])


def test_nothing_is_a_call_of_its_own():
    """XLA:CPU fuses nothing with what is called from several places."""
    twice = jax.make_jaxpr(lambda x: relu(relu(x)))(VALUES)
    assert {equation.primitive.name for equation in twice.eqns}.isdisjoint({"jit", "pjit"})
    called = jax.make_jaxpr(lambda x: jax.nn.relu(jax.nn.relu(x)))(VALUES)
    assert "relu" in str(called)
