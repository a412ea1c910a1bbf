"""Levels, straight-through gradients, and the identity that mixed precision rests on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.nn import quantise, quantised
from hwnas_jax.nn.normalisation import supernet_norm
from tests.helpers import initialise
from tests.nn.test_large_kernel import reference


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize(("bits", "published"), [(1, 1.596), (2, 0.9957), (3, 0.5860), (4, 0.3352)])
def test_steps_for_weights_are_those_of_max(bits, published):
    """Max 1960, table II: the best uniform quantisers of normal values."""
    assert quantise.normal_step(bits) == pytest.approx(published, abs=5e-4)


def test_a_step_for_one_bit_of_activations_follows_from_its_condition():
    """The level is the mean of what lies above half of it: `l = phi(l/2) / (1 - Phi(l/2))`."""
    from scipy.stats import norm

    level = quantise.half_normal_step(1)
    assert level == pytest.approx(norm.pdf(level / 2) / norm.sf(level / 2), abs=1e-3)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_there_are_as_many_levels_as_bits_say(bits):
    ramp = np.concatenate([np.zeros(140_000), np.linspace(-6, 6, 20_000)])  # to five deviations
    weight = jnp.asarray(np.stack([ramp, 3 * ramp], 1), jnp.float32)
    found = np.asarray(quantise.quantise_weights(weight, bits))
    for channel in range(2):
        levels = np.unique(found[:, channel])
        assert len(levels) == 2**bits
        np.testing.assert_allclose(levels, -levels[::-1])
        np.testing.assert_allclose(np.diff(levels), np.diff(levels)[0], rtol=1e-3)
    x = 4 * drawn(40_000)
    levels = np.unique(quantise.quantise_activations(x, bits))
    assert len(levels) == 2**bits and levels[0] == 0
    nearest = np.abs(np.asarray(x)[:, None] - levels).min(axis=1)
    error = np.abs(np.asarray(quantise.quantise_activations(x, bits) - x))
    np.testing.assert_allclose(error, nearest, atol=1e-5)


def test_no_bits_and_all_bits():
    x = drawn(3, 3)
    assert not quantise.quantise_weights(x, 0).any()
    np.testing.assert_array_equal(quantise.quantise_weights(x, quantise.FULL), x)
    np.testing.assert_array_equal(quantise.quantise_activations(x, quantise.FULL), np.maximum(x, 0))
    for bits in (9, -1):
        with pytest.raises(ValueError, match="bits must be"):
            quantise.quantise_weights(x, bits)
    with pytest.raises(ValueError, match="bits must be"):
        quantise.quantise_activations(x, 0)


def test_gradients_pass_straight_through():
    direction = drawn(50, 3, seed=1)
    weight, x = drawn(50, 3), 3 * drawn(50, 3, seed=2)

    def gradient(function, at):
        return np.asarray(jax.grad(lambda v: (function(v) * direction).sum())(at))

    found = gradient(lambda w: quantise.quantise_weights(w, 2), weight)
    np.testing.assert_array_equal(found, direction)
    found = gradient(lambda v: quantise.quantise_activations(v, 2), x)
    inside = (np.asarray(x) > 0) & (np.asarray(x) < 3 * quantise.half_normal_step(2))
    assert 20 < inside.sum() < 100
    np.testing.assert_array_equal(found, direction * inside)
    found = gradient(quantise.binarise_activations, x)
    np.testing.assert_array_equal(found, direction * (np.abs(x) <= 1))


def test_binary_weights_are_a_sign_and_a_mean():
    weight, direction = 1.5 * drawn(20, 3), drawn(20, 3, seed=1)
    w, g = np.asarray(weight), np.asarray(direction)
    scale = np.abs(w).mean(axis=0)
    np.testing.assert_allclose(quantise.binarise_weights(weight), scale * np.sign(w), rtol=1e-6)
    found = jax.grad(lambda v: (quantise.binarise_weights(v) * direction).sum())(weight)
    through_scale = (g * np.sign(w)).sum(axis=0) * np.sign(w) / len(w)
    np.testing.assert_allclose(found, scale * g * (np.abs(w) <= 1) + through_scale, rtol=1e-4)
    assert set(np.unique(quantise.binarise_activations(jnp.array([-2.0, 0.0, 3.0])))) == {-1, 0, 1}


def test_projected_weights_are_pulled_to_their_binary_values():
    """The gradient is that of the loss with the reconstruction loss written out beside it."""
    weight, projection, direction = (
        drawn(3, 3, 2, 4),
        1 + 0.1 * drawn(3, 3, 1, 1),
        drawn(3, 3, 2, 4),
    )

    def loss(weight, projection):
        return (quantise.project_weights(weight, projection) * direction).sum()

    def apart(weight, projection):
        binary = jax.lax.stop_gradient(quantise.binarise_weights(weight * projection))
        return 0.5 * quantise.RECONSTRUCTION * ((weight * projection - binary) ** 2).sum()

    def plain(weight, projection):
        binary = quantise.binarise_weights(weight * projection)
        return (binary * direction).sum() + apart(weight, projection)

    own, expected = (jax.grad(f, argnums=(0, 1))(weight, projection) for f in (loss, plain))
    for ours, theirs in zip(own, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    assert max(float(jnp.abs(g).max()) for g in jax.grad(apart, (0, 1))(weight, projection)) > 1e-5
    rest = jax.grad(lambda *parts: 0.0 * loss(*parts), argnums=(0, 1))(weight, projection)
    assert all((np.asarray(part) == 0).all() for part in rest)


@pytest.mark.parametrize("stride", [1, 2])
def test_one_convolution_is_the_mixture_of_all_pairs(stride):
    """The identity EdMIPS rests on, to 1e-5 of the largest value."""
    weights, activations = (0, 1, 2, 4), (1, 3, 32)
    conv = initialise(
        lambda rngs: quantised.MixedQuantisedConv(
            3, 5, weights, activations, supernet_norm(), rngs, stride=stride
        )
    )
    x = drawn(2, 9, 8, 3)
    gates = jnp.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.2, 0.3, 0.0]])
    own = conv.norm(x)
    expected = 0.0
    for i, w in enumerate(weights):
        for j, a in enumerate(activations):
            kernel = quantise.quantise_weights(conv.kernel[...], w)
            values = quantise.quantise_activations(own, a)
            expected += gates[0, i] * gates[1, j] * reference(values, kernel, stride=stride)
    error = jnp.abs(conv(x, gates) - expected).max() / jnp.abs(expected).max()
    assert error < 1e-5
