"""Resizing against JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.nn.resize import resize


@pytest.mark.parametrize("size", [(8, 8), (4, 4), (5, 3), (12, 9), (1, 2)])
def test_resize(size):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 3)), jnp.float32)
    expected = jax.image.resize(x, (2, *size, 3), "linear")
    np.testing.assert_allclose(resize(x, *size), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("source", "target"), [((4, 3), (7, 5)), ((1, 5), (1, 9)), ((7, 4), (2, 9))]
)
def test_odd_sizes_and_sequences_have_values_and_gradients_of_the_plain_form(source, target):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, *source, 3)), jnp.float32)
    direction = jnp.asarray(rng.standard_normal((2, *target, 3)), jnp.float32)

    def plain(x):
        return jax.image.resize(x, (2, *target, 3), "linear")

    expected, expected_back = jax.vjp(plain, x)
    found, back = jax.vjp(lambda x: resize(x, *target), x)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(back(direction)[0], expected_back(direction)[0], atol=1e-5)
