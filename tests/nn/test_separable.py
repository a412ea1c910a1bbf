"""Pooling and the operations of DARTS's cells, against `lax` and numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.nn.kernels.pooling import Pool3x3, max_pool
from hwnas_jax.nn.normalisation import supernet_norm
from hwnas_jax.nn.platform import platform
from hwnas_jax.nn.separable import DilConv, FactorisedReduction, SepConv


def normals(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("length", [4, 5])
def test_max_pool_is_that_of_lax(length, size, stride):
    x = normals(2, length, length + 1, 3)

    def run(name, x):
        with platform(name):
            return max_pool(x, size, stride=stride)

    value, pull = jax.vjp(lambda x: run("cpu", x), x)
    expected, pull_expected = jax.vjp(lambda x: run("gpu", x), x)
    np.testing.assert_array_equal(value, expected)
    assert value.shape == (2, -(-length // stride), -(-(length + 1) // stride), 3)
    gradient = normals(*value.shape, seed=1)
    np.testing.assert_allclose(pull(gradient)[0], pull_expected(gradient)[0], rtol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_average_pool_counts_no_padding(stride):
    x = np.asarray(normals(1, 5, 4, 2))
    value = Pool3x3("avg", stride)(jnp.asarray(x))
    for i, row in enumerate(range(0, 5, stride)):
        for j, column in enumerate(range(0, 4, stride)):
            window = x[:, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            np.testing.assert_allclose(value[:, i, j], window.mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_a_dilated_convolution_is_that_of_lax():
    module = DilConv(3, 4, 5, supernet_norm(), nnx.Rngs(0), stride=2)
    x = normals(2, 8, 8, 3)
    middle = jax.lax.conv_general_dilated(
        jax.nn.relu(x), module.kernel[...][:, :, None], (2, 2), [(4, 4), (4, 4)],
        rhs_dilation=(2, 2), dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=3,
    )  # fmt: skip
    values = middle @ module.pointwise.kernel[...][0, 0]
    expected = (values - values.mean((0, 1, 2))) / jnp.sqrt(values.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(module(x), expected, atol=1e-4)
    assert module.macs((8, 8, 3)) == 16 * (25 * 3 + 3 * 4)
    assert SepConv(3, 4, 3, supernet_norm(), nnx.Rngs(0), stride=2).macs((8, 8, 3)) == 16 * (
        9 * 3 + 3 * 3 + 9 * 3 + 3 * 4
    )


@pytest.mark.parametrize("length", [4, 5])
def test_a_factorised_reduction_sees_every_second_pixel_twice(length):
    module = FactorisedReduction(1, 2, lambda features, rngs: lambda x: x, nnx.Rngs(0))
    for conv in (module.first, module.second):
        conv.kernel[...] = jnp.ones((1, 1, 1, 1))
    x = np.abs(np.asarray(normals(1, length, length, 1)))
    padded = np.pad(x, ((0, 0), (0, length % 2), (0, length % 2), (0, 0)))
    expected = np.concatenate([x[:, ::2, ::2], padded[:, 1::2, 1::2]], -1)
    np.testing.assert_allclose(module(jnp.asarray(x)), expected)
    assert module.macs((length, length, 1)) == 2 * (-(-length // 2)) ** 2
    sequence = x[:, :1]
    moved = padded[:, :1, 1::2]
    expected = np.concatenate([sequence[:, :, ::2], moved], -1)
    np.testing.assert_allclose(module(jnp.asarray(sequence)), expected)


def test_kernels_for_sequences_are_one_pixel_high():
    module = DilConv(3, 4, (1, 5), supernet_norm(), nnx.Rngs(0), stride=2, dilation=1)
    x = normals(2, 1, 9, 3)
    padded = np.pad(np.maximum(np.asarray(x), 0), ((0, 0), (0, 0), (2, 2), (0, 0)))
    taps = np.asarray(module.kernel[...])[0]
    middle = sum(padded[:, :, tap : tap + 9 : 2] * taps[tap] for tap in range(5))
    values = middle @ np.asarray(module.pointwise.kernel[...][0, 0])
    expected = (values - values.mean((0, 1, 2))) / np.sqrt(values.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(module(x), expected, atol=1e-4)
    assert module.macs((1, 9, 3)) == 5 * (5 * 3 + 3 * 4)
