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
