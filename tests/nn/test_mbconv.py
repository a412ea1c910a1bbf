"""Depthwise convolution and inverted residual blocks against plain `lax` and counted products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.nn.kernels.depthwise import depthwise_conv
from hwnas_jax.nn.mbconv import ConvNorm, MBConv, SqueezeExcite
from hwnas_jax.nn.normalisation import supernet_norm
from tests.helpers import initialise


def reference(x, kernel, stride, dilation):
    margin = dilation * (kernel.shape[0] // 2)
    return jax.lax.conv_general_dilated(
        x, kernel[:, :, None], (stride, stride), [(margin, margin)] * 2,
        rhs_dilation=(dilation, dilation), dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "stride", "dilation"), [(3, 1, 1), (5, 2, 1), (7, 1, 1), (3, 2, 2)]
)
@pytest.mark.parametrize("shape", [(2, 8, 8, 4), (1, 7, 5, 3)])
def test_depthwise_is_the_grouped_convolution(shape, size, stride, dilation):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((size, size, shape[-1])), jnp.float32)
    expected, pull = jax.vjp(lambda a, b: reference(a, b, stride, dilation), x, kernel)
    found, own = jax.vjp(
        lambda a, b: depthwise_conv(a, b, stride=stride, dilation=dilation), x, kernel
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    direction = jnp.asarray(rng.standard_normal(expected.shape), jnp.float32)
    for ours, theirs in zip(own(direction), pull(direction), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_groups_are_separate_products():
    norm = supernet_norm()
    block = initialise(lambda r: ConvNorm(4, 6, 1, norm, r, groups=2))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 3, 4)), jnp.float32)
    kernel = np.asarray(block.kernel[...])[0, 0]
    values = np.concatenate(
        [np.asarray(x)[..., :2] @ kernel[:, :3], np.asarray(x)[..., 2:] @ kernel[:, 3:]], -1
    )
    block.norm = lambda value: value
    np.testing.assert_allclose(block(x), values, atol=1e-5)


def test_counts_of_a_block():
    norm = supernet_norm()
    block = initialise(lambda r: MBConv(8, 16, norm, r, kernel=5, expansion=3, stride=2,
                                        se_features=4))  # fmt: skip
    assert block.macs((7, 7, 8)) == (49 * 8 * 24 + 16 * 25 * 24 + 2 * 24 * 4 + 16 * 24 * 16)
    assert block(jnp.ones((1, 7, 7, 8))).shape == (1, 4, 4, 16)


def test_residual_and_excitation():
    norm = supernet_norm()
    block = initialise(lambda r: MBConv(4, 4, norm, r, expansion=1))
    assert block.expand is None and block.residual
    block.project.kernel[...] = jnp.zeros_like(block.project.kernel[...])
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 4, 4)), jnp.float32)
    np.testing.assert_allclose(block(x), x, atol=1e-6)
    excite = initialise(lambda r: SqueezeExcite(4, 2, r))
    means = np.asarray(x).mean((1, 2))
    hidden = np.maximum(means @ excite.reduce.kernel[...] + excite.reduce.bias[...], 0)
    scale = 1 / (1 + np.exp(-(hidden @ excite.expand.kernel[...] + excite.expand.bias[...])))
    np.testing.assert_allclose(excite(x), np.asarray(x) * scale[:, None, None], rtol=1e-4)
