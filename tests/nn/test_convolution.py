"""Fast forms against lax.conv and numpy, value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.nn.convolution import avg_pool_2x2, avg_pool_3x3, conv2d


def reference(x, kernel, stride, dilation):
    pads = [(dilation * (kernel.shape[0] // 2),) * 2] * 2
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pads,
        rhs_dilation=(dilation, dilation), dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "dilation"),
    [
        ((8, 8), 1, 1, 1), ((7, 9), 1, 2, 1), ((8, 8), 3, 1, 1), ((8, 8), 3, 2, 1),
        ((7, 9), 3, 2, 1), ((5, 4), 3, 1, 2), ((7, 9), 3, 2, 2), ((7, 8), 5, 2, 1),
    ],
)  # fmt: skip
def test_convolution_equals_lax(size, kernel_size, stride, dilation):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, *size, 3))
    kernel = jax.random.normal(keys[1], (kernel_size, kernel_size, 3, 4))
    expected, pull_back = jax.vjp(lambda a, b: reference(a, b, stride, dilation), x, kernel)
    gradient = jax.random.normal(keys[2], expected.shape)
    found, own_pull_back = jax.vjp(
        lambda a, b: conv2d(a, b, stride=stride, dilation=dilation), x, kernel
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    for own, theirs in zip(own_pull_back(gradient), pull_back(gradient), strict=True):
        np.testing.assert_allclose(own, theirs, rtol=1e-4, atol=1e-4)


def windows(x):
    _, height, width, _ = x.shape
    out = np.zeros_like(x)
    for i in range(height):
        for j in range(width):
            rows = slice(max(0, i - 1), i + 2)
            out[:, i, j] = x[:, rows, max(0, j - 1) : j + 2].mean((1, 2))
    return out


@pytest.mark.parametrize("size", [(6, 6), (5, 7), (2, 2), (1, 3)])
def test_average_of_neighbourhoods(size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    np.testing.assert_allclose(avg_pool_3x3(jnp.asarray(x)), windows(x), rtol=1e-5, atol=1e-6)


def test_average_of_neighbourhoods_gradient_is_the_transpose():
    rng = np.random.default_rng(1)
    x, g = (rng.normal(size=(1, 5, 4, 2)).astype(np.float32) for _ in range(2))
    _, pull_back = jax.vjp(avg_pool_3x3, jnp.asarray(x))
    np.testing.assert_allclose((pull_back(g)[0] * x).sum(), (windows(x) * g).sum(), rtol=1e-4)


@pytest.mark.parametrize(("size", "halved"), [(4, 2), (7, 4)])
def test_halving(size, halved):
    x = np.random.default_rng(0).normal(size=(1, size, size, 1)).astype(np.float32)
    found = np.asarray(avg_pool_2x2(jnp.asarray(x)))
    assert found.shape == (1, halved, halved, 1)
    expected = [[x[0, i : i + 2, j : j + 2].mean() for j in range(0, size, 2)]
                for i in range(0, size, 2)]  # fmt: skip
    np.testing.assert_allclose(found[0, :, :, 0], expected, rtol=1e-5)


def test_wrong_shapes_are_refused():
    with pytest.raises(AssertionError):
        conv2d(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 2, 4)))
