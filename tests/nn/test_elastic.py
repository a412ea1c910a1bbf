"""Elastic layers: weights shared, kernels mixed, and what each mode computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.nn.elastic import ElasticLayer, LayerSizes, Mixture
from hwnas_jax.nn.kernels.depthwise import depthwise_conv
from hwnas_jax.nn.mobilenetv3 import InvertedResidual, fit_channels
from hwnas_jax.nn.normalisation import supernet_norm
from hwnas_jax.nn.platform import platform

SIZES = LayerSizes(
    inputs=(2, 4), middles=(6, 12), widths=(2, 4), kernels=(3, 5, 7), excited=(8, 16),
    residual=True, transformed=True,
)  # fmt: skip


def layer(sizes=SIZES):
    made = ElasticLayer(sizes, supernet_norm(), nnx.Rngs(0))
    rng = np.random.default_rng(0)
    for matrix in made.shrink:
        matrix[...] = matrix[...] + 0.3 * rng.standard_normal(matrix.shape)
    return made


def images(channels):
    return jnp.asarray(np.random.default_rng(1).standard_normal((2, 8, 8, channels)), jnp.float32)


def test_smaller_kernels_are_the_middle_of_larger_ones_through_a_matrix():
    own = layer()
    weight = np.asarray(own.depthwise[...])
    np.testing.assert_allclose(own.kernel_of(2), weight)
    five = np.einsum("ij,jc->ic", own.shrink[1][...], weight[1:6, 1:6].reshape(25, -1))
    np.testing.assert_allclose(own.kernel_of(1), five.reshape(5, 5, -1), rtol=1e-5, atol=1e-6)
    inner = five.reshape(5, 5, -1)[1:4, 1:4].reshape(9, -1)
    three = np.einsum("ij,jc->ic", own.shrink[0][...], inner).reshape(3, 3, -1)
    np.testing.assert_allclose(own.kernel_of(0), three, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(own.kernel_of(0, 6), three[..., :6], rtol=1e-5, atol=1e-5)


def test_the_mixed_kernel_mixes_the_outputs_of_the_convolution():
    own, x, weight = layer(), images(12), jnp.array([0.2, 0.5, 0.3])
    expected = sum(w * depthwise_conv(x, own.kernel_of(k)) for k, w in enumerate(weight))
    np.testing.assert_allclose(depthwise_conv(x, own.mixed_kernel(weight)), expected, atol=1e-5)


@pytest.mark.parametrize("option", [(0, 0, 1), (1, 1, 0), (2, 0, 0)])
def test_masks_and_slices_and_the_block_alone_agree(option):
    """Channels beyond those chosen have no influence, whatever their weights."""
    kernel, middle, width = option
    own = layer()
    x = fit_channels(images(SIZES.inputs[middle]), 4)
    alone = own.alone(x, *option)
    assert float(jnp.abs(alone[..., SIZES.widths[width] :]).sum()) == 0
    gates = Mixture(jnp.eye(3)[kernel], jnp.eye(2)[middle], jnp.eye(2)[width])
    np.testing.assert_allclose(own(x, gates), alone, atol=1e-4)
    block = InvertedResidual(
        SIZES.inputs[middle], SIZES.middles[middle], SIZES.widths[width], supernet_norm(),
        nnx.Rngs(1), kernel=SIZES.kernels[kernel], excited=SIZES.excited[middle], residual=True,
    )  # fmt: skip
    own.give(block, *option)
    found = block(x[..., : SIZES.inputs[middle]])
    np.testing.assert_allclose(fit_channels(found, 4), alone, atol=1e-4)


def convolutions(sizes):
    """Counts convolutions and products of images in the program of a mixed layer."""
    graph, state = nnx.split(ElasticLayer(sizes, supernet_norm(), nnx.Rngs(0)))
    gates = Mixture(*(jnp.ones(len(n)) for n in (sizes.kernels, sizes.middles, sizes.widths)))
    with platform("gpu"):
        text = str(jax.make_jaxpr(lambda s, x: nnx.merge(graph, s)(x, gates))(state, images(4)))
    return text.count("conv_general_dilated["), text.count("dot_general[")


def test_every_convolution_runs_once_whatever_the_number_of_options():
    one = LayerSizes(inputs=(4,), middles=(12,), widths=(4,), kernels=(7,))
    many = SIZES._replace(excited=(), transformed=False)
    assert convolutions(one) == convolutions(many) == (1, 2)
