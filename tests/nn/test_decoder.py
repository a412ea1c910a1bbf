"""Decoders and heads against the same computed by JAX's own convolution and resizing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.nn.classifier import Classifier, classifier
from hwnas_jax.nn.decoder import Decoder, DecoderPlan, Lateral
from hwnas_jax.nn.heads import HeadsPlan
from hwnas_jax.nn.normalisation import EPSILON, supernet_norm
from hwnas_jax.nn.outputs import Output, output_shape

IMAGES = ((7, 5, 2), (7, 5, 4), (4, 3, 6))
SEQUENCES = ((1, 9, 2), (1, 5, 4))


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def normalised(x):
    variance = x.var((0, 1, 2))
    return (x - x.mean((0, 1, 2))) / jnp.sqrt(variance + EPSILON)


def convolved(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def resized(x, size):
    return jax.image.resize(x, (len(x), *size, x.shape[-1]), "linear")


def plain(decoder, values, size):
    """The decoder of the given weights, from the coarsest stage to the finest and to the input."""
    total = None
    for lateral, value in reversed(list(zip(decoder.laterals, values, strict=True))):
        own = convolved(value, lateral.conv.kernel[...])
        total = own if total is None else own + resized(total, own.shape[1:3])
    total = convolved(jax.nn.relu(normalised(total)), decoder.end.conv.kernel[...])
    total = resized(jax.nn.relu(normalised(total)), size)
    return convolved(total, decoder.end.last.kernel[...]) + decoder.end.bias[...]


@pytest.mark.parametrize(("stages", "size"), [(IMAGES, (13, 10)), (SEQUENCES, (1, 9))])
def test_a_decoder_is_the_sum_over_resized_stages(stages, size):
    decoder = Decoder(DecoderPlan(stages, 3, size, 2), supernet_norm(), nnx.Rngs(0))
    decoder.end.bias[...] = jnp.array([0.5, -1.0])
    values = [drawn(2, *shape, seed=number) for number, shape in enumerate(stages)]
    direction = drawn(2, *size, 2, seed=9)

    def run(form, values):
        outputs = form(values)
        return (outputs * direction).sum(), outputs

    found, expected = (
        jax.jit(jax.value_and_grad(functools.partial(run, form), has_aux=True))(values)
        for form in (
            lambda values: decoder.finish(values[:-1], decoder.begin(values[-1])),
            lambda values: plain(decoder, values, size),
        )
    )
    assert found[0][1].shape == (2, *size, 2)
    np.testing.assert_allclose(found[0][1], expected[0][1], rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_kernels_for_sequences_are_one_pixel_high():
    plan = DecoderPlan(SEQUENCES, 3, (1, 9), 2)
    end = plan.end(supernet_norm(), nnx.Rngs(0))
    assert end.conv.kernel.shape == (1, 3, 3, 3)
    assert end.macs(plan.sum_shape(0)) == 9 * (3 * 3 * 3 + 3 * 2)


def test_several_outputs_stand_side_by_side_and_their_log_variances_behind():
    outputs = (Output(2, dense=True), Output(3), Output(1, dense=True))
    plan = HeadsPlan(outputs, (13, 10, 1), IMAGES, 3, classifier)
    heads = plan.build(supernet_norm(), nnx.Rngs(0))
    heads.log_variances[...] = jnp.array([0.1, 0.2, 0.3])
    values = [drawn(2, *shape) for shape in IMAGES]
    found = heads(values)
    assert found.shape == (2, *output_shape(outputs, (13, 10, 1)))
    first, second, third, rest = np.split(np.asarray(found), np.cumsum([260, 3, 130]), axis=1)
    for part, head, channels in ((first, heads.heads[0], 2), (third, heads.heads[2], 1)):
        alone = head.finish(values[:-1], head.begin(values[-1]))
        np.testing.assert_array_equal(part.reshape(2, 13, 10, channels), alone)
    np.testing.assert_array_equal(second, heads.heads[1](values[-1]))
    np.testing.assert_array_equal(rest, np.tile(np.float32([0.1, 0.2, 0.3]), (2, 1)))
    assert (
        not plan.is_vector and HeadsPlan(outputs[1:2], (13, 10, 1), IMAGES, 3, classifier).is_vector
    )


def test_narrow_inputs_are_read_by_the_first_rows():
    x = drawn(2, 4, 3, 5)
    wide = jnp.concatenate([x, jnp.zeros((2, 4, 3, 2))], -1)
    for module in (Lateral(7, 3, nnx.Rngs(0)), Classifier(7, 3, nnx.Rngs(0))):
        np.testing.assert_allclose(module(x), module(wide), rtol=1e-5, atol=1e-6)
