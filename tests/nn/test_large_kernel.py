"""Convolutions with large kernels, and mixtures of them, against plain `lax`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.nn.kernels.large_kernel import conv_fourier, conv_large, mix_kernels


def reference(x, kernel, stride=1, dilation=1):
    pads = [(dilation * (size // 2),) * 2 for size in kernel.shape[:2]]
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pads,
        rhs_dilation=(dilation, dilation), dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


def drawn(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


@pytest.mark.parametrize(
    ("image", "kernel"), [((2, 7, 9, 3), (5, 5)), ((2, 1, 40, 3), (1, 31)), ((1, 6, 6, 2), (13, 9))]
)
def test_fourier_form_in_value_and_gradient(image, kernel):
    x, k = drawn(image, (*kernel, image[-1], 4))
    expected, pull = jax.vjp(reference, x, k)
    found, own = jax.vjp(conv_fourier, x, k)
    scale = jnp.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=2e-6)
    (direction,) = drawn(expected.shape, seed=1)
    for ours, theirs in zip(own(direction), pull(direction), strict=True):
        size = jnp.abs(theirs).max()
        np.testing.assert_allclose(ours / size, theirs / size, atol=3e-6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("taps", [3, 15, 61])
def test_any_size_and_stride(taps, stride):
    x, k = drawn((2, 1, 21, 3), (1, taps, 3, 2))
    expected = reference(x, k)[:, :, ::stride]
    np.testing.assert_allclose(conv_large(x, k, stride=stride), expected, atol=2e-4)
    x, k = drawn((2, 9, 11, 3), (taps, taps, 3, 2))
    expected = reference(x, k)[:, ::stride, ::stride]
    found = conv_large(x, k, stride=stride)
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(jnp.abs(expected).max()) * 5)


def test_a_mixed_kernel_is_the_mixed_outputs():
    """The identity DASH rests on, to 1e-5 of the largest value."""
    sizes, dilations = (3, 5, 3, 7), (1, 3, 7, 1)
    x, *kernels = drawn((2, 17, 19, 3), *((s, s, 3, 4) for s in sizes))
    weight = jnp.asarray([0.1, 0.4, 0.3, 0.2])
    mixed = mix_kernels(kernels, dilations, weight)
    assert mixed.shape == (15, 15, 3, 4)
    expected = sum(
        w * reference(x, k, dilation=d)
        for w, k, d in zip(weight, kernels, dilations, strict=True)
    )  # fmt: skip
    scale = jnp.abs(expected).max()
    np.testing.assert_allclose(conv_large(x, mixed) / scale, expected / scale, atol=1e-5)
