"""Weights and activations of few bits, with gradients that pass straight through the rounding.

The steps between levels are those of least squared error for normally distributed values. Weights
are scaled by their root mean square, and activations are quantised after normalisation. Only the
weights are learned, so one kernel serves all bit widths of a supernet.

References: Max, "Quantizing for Minimum Distortion", 1960 (the steps); Cai et al., "Deep Learning
with Low Precision by Half-Wave Gaussian Quantization" (HWGQ), CVPR 2017 (activations); Cai and
Vasconcelos, "Rethinking Differentiable Search for Mixed-Precision Neural Networks" (EdMIPS), CVPR
2020 (one kernel for all bits); Rastegari et al., "XNOR-Net", ECCV 2016 (binary values); Gu et al.,
"Projection Convolutional Neural Networks for 1-bit CNNs" (PCNN), AAAI 2019 (projected ones).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy

FULL = 32
"""Bits of a number that is not quantised."""

RECONSTRUCTION = 1e-4
"""Weight of the reconstruction loss of projected kernels, before its factor of one half."""

_LEAST = 1e-8
# A sum of few levels often equals its mean exactly, and rounding puts it on a side of the mean that
# differs from program to program. Values within this distance of zero count as zero.
_TIE = 1e-5


@jax.custom_jvp
def straight_through(value: jax.Array, source: jax.Array) -> jax.Array:
    """Returns `value` with the gradient of `source`; both have one shape.

    References: Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons for
    Conditional Computation", 2013.
    """
    del source
    return value


@straight_through.defjvp
def _straight_through_jvp(primals, tangents):
    return primals[0], tangents[1]


@functools.cache
def normal_step(bits: int) -> float:
    """Returns the step of the `2 ** bits` levels `(i + 1/2) step` nearest to normal values.

    >>> round(normal_step(2), 4)
    0.9957
    """
    reach = 2 ** (bits - 1)

    def quantised(x, step):
        return (np.clip(np.floor(x / step), -reach, reach - 1) + 0.5) * step

    return _best_step(quantised, -10.0, 0.4 / reach, 6.0 / reach)


@functools.cache
def half_normal_step(bits: int) -> float:
    """Returns the step of the `2 ** bits` levels `i step` nearest to `relu` of normal values.

    The steps of HWGQ are smaller, since its rounding takes no positive value to zero.

    >>> round(half_normal_step(2), 2)
    0.65
    """
    highest = 2**bits - 1

    def quantised(x, step):
        return np.clip(np.floor(x / step + 0.5), 0, highest) * step

    return _best_step(quantised, 0.0, 0.4 / highest, 6.0 / highest)


def _best_step(quantised, lowest, least, most):
    x = np.linspace(lowest, 10.0, 200_001)
    density = np.exp(-0.5 * x * x)

    def error(step):
        return (density * (x - quantised(x, step)) ** 2).sum()

    found = scipy.optimize.minimize_scalar(
        error, bounds=(least, most), method="bounded", options={"xatol": 1e-7}
    )
    return float(found.x)


def quantise_weights(weight: jax.Array, bits: int) -> jax.Array:
    """Returns `weight` (`[..., O]`) with `2 ** bits` values per output channel.

    The levels are symmetric and exclude zero. Their scale is the root mean square of the channel,
    which the gradient takes as a constant. The gradient passes every weight unchanged.

    Args:
      weight: the latent weights.
      bits: 0 gives zeros, `FULL` the weights themselves.
    """
    _check_bits(bits, 0)
    if bits == 0:
        return jnp.zeros_like(weight)
    if bits == FULL:
        return weight
    latent = weight.astype(jnp.float32)
    axes = tuple(range(weight.ndim - 1))
    scale = jnp.sqrt(jnp.maximum((latent**2).mean(axes), _LEAST**2)) * normal_step(bits)
    reach = 2 ** (bits - 1)
    levels = jnp.clip(jnp.floor(latent / scale), -reach, reach - 1) + 0.5
    return straight_through((levels * scale).astype(weight.dtype), weight)


def quantise_activations(x: jax.Array, bits: int) -> jax.Array:
    """Returns the positive part of normalised values, on `2 ** bits` levels of which one is zero.

    The gradient is one between zero and the highest level, and zero outside.

    Args:
      x: of mean zero and variance one per channel, or nearly so.
      bits: `FULL` gives `relu(x)`; values below 1e-5 count as zero.
    """
    _check_bits(bits, 1)
    if bits == FULL:
        return jnp.where(x > _TIE, x, 0)
    step, highest = half_normal_step(bits), 2**bits - 1
    levels = jnp.clip(jnp.floor(x.astype(jnp.float32) / step + 0.5), 0, highest)
    inside = (x > _TIE) & (x < highest * step)
    return straight_through((levels * step).astype(x.dtype), jnp.where(inside, x, 0))


def binarise_weights(weight: jax.Array) -> jax.Array:
    """Returns `mean|w| * sign(w)`, with the mean over each output channel of `weight` (`[..., O]`).

    The gradient of the sign is one if `|w| <= 1`, and zero otherwise. The scale is differentiated.
    """
    axes = tuple(range(weight.ndim - 1))
    scale = jnp.abs(weight).mean(axes)
    sign = jnp.where(weight >= 0, 1.0, -1.0).astype(weight.dtype)
    return scale * straight_through(sign, jnp.clip(weight, -1.0, 1.0))


def project_weights(weight: jax.Array, projection: jax.Array) -> jax.Array:
    """Returns the binary values of `weight` times a learned projection.

    To the gradient of the loss, this adds the gradient of `RECONSTRUCTION / 2` times the squared
    distance from the product to its binary values. It is added only for kernels on which the loss
    depends, so that an operation which is not drawn does not change.

    Args:
      weight: `[k, k, I, O]`.
      projection: `[k, k, 1, 1]`, one matrix for all channels.

    References: Gu et al., "Projection Convolutional Neural Networks for 1-bit CNNs via Discrete
    Back Propagation" (PCNN), AAAI 2019, with one projection.
    """
    latent = projection * weight
    binary = binarise_weights(latent)
    apart = (latent - jax.lax.stop_gradient(binary)).astype(jnp.float32)
    return _with_penalty(binary, 0.5 * RECONSTRUCTION * (apart**2).sum())


@jax.custom_vjp
def _with_penalty(value, penalty):
    """Returns `value`; wherever a gradient reaches it, the gradient of `penalty` is added."""
    del penalty
    return value


_with_penalty.defvjp(
    lambda value, penalty: (value, None),
    lambda _, gradient: (gradient, jnp.any(gradient != 0).astype(jnp.float32)),
)


def binarise_activations(x: jax.Array) -> jax.Array:
    """Returns `sign(x)`, with a gradient of one if `|x| <= 1`, and zero otherwise.

    Zero, to within 1e-5, stays zero: a node that nothing reaches must not pass a constant on.
    """
    signs = jnp.where(jnp.abs(x) < _TIE, 0, jnp.sign(x))
    return straight_through(signs, jnp.where(jnp.abs(x) <= 1 + _TIE, x, 0))


def _check_bits(bits, least):
    if bits != FULL and not least <= bits <= 8:
        raise ValueError(f"bits must be {least} to 8, or {FULL}; got {bits}")
