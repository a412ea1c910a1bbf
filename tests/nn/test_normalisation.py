"""Batch statistics against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn.normalisation import EPSILON, BatchStatistics, network_norm, normalises


def test_batch_statistics():
    x = np.random.default_rng(0).normal(3.0, 2.0, (4, 5, 5, 3)).astype(np.float32)
    expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + EPSILON)
    np.testing.assert_allclose(BatchStatistics()(jnp.asarray(x)), expected, rtol=1e-3, atol=1e-4)


def test_network_norm_starts_equal_and_keeps_running_statistics():
    x = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (4, 5, 5, 3)), jnp.float32)
    norm = network_norm()(3, nnx.Rngs(0))
    norm.train()
    np.testing.assert_allclose(norm(x), BatchStatistics()(x), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(norm.mean[...], 0.1 * x.mean((0, 1, 2)), rtol=1e-4)


def test_switched_off_values_pass_unchanged():
    x, norm = jnp.asarray([[1.0, 5.0], [3.0, 1.0]]), BatchStatistics()
    gradient = jax.jit(jax.grad(lambda x: (norm(x) ** 2).sum()))
    assert abs(gradient(x)).max() < 1e-3
    with normalises(False):
        np.testing.assert_array_equal(norm(x), x)
        np.testing.assert_array_equal(gradient(x), 2 * x)
    assert abs(gradient(x)).max() < 1e-3
