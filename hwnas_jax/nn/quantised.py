"""Layers of few bits: one precision each, or several mixed before a single convolution.

Every layer says `macs(input_shape)`, `bit_operations(input_shape)` for one image, and `size_bits()`
of its stored parameters: weights at their bits, one 32-bit scale per output channel, and
everything else at 32 bits.
"""

import math
from collections.abc import Sequence
from typing import cast

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.kernels.convolution import avg_pool_2x2, conv2d
from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.quantise import (
    FULL,
    binarise_activations,
    binarise_weights,
    project_weights,
    quantise_activations,
    quantise_weights,
)

_init = nnx.initializers.he_uniform()


def _kernel(rngs, size, inputs, outputs):
    return nnx.Param(_init(rngs.params(), (size, size, inputs, outputs), jnp.float32))


class _Layer(nnx.Module):
    """A convolution with its counts; a subclass sets kernel, stride and bits."""

    kernel: nnx.Param
    weight_bits: int
    activation_bits: int
    stride = 1

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width = (-(-size // self.stride) for size in input_shape[:2])
        return height * width * math.prod(self.kernel.shape)

    def bit_operations(self, input_shape: tuple[int, ...]) -> int:
        """Returns weight bits times activation bits, summed over the multiply-accumulates."""
        return self.macs(input_shape) * self.weight_bits * self.activation_bits

    def size_bits(self) -> int:
        """Returns the bits of what is stored."""
        whole = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(self, nnx.Param)))
        scales = 0 if self.weight_bits == FULL else self.kernel.shape[-1]
        latent = math.prod(self.kernel.shape)
        return self.weight_bits * latent + FULL * (whole - latent + scales)


class QuantisedConv(_Layer):
    """Normalisation, quantised rectifier, and a convolution with quantised weights.

    References: Cai and Vasconcelos, "Rethinking Differentiable Search for Mixed-Precision Neural
    Networks" (EdMIPS), CVPR 2020.
    """

    def __init__(
        self, inputs: int, outputs: int, weight_bits: int, activation_bits: int, norm: Norm,
        rngs: nnx.Rngs, *, kernel: int = 3, stride: int = 1,
    ):  # fmt: skip
        self.weight_bits, self.activation_bits, self.stride = weight_bits, activation_bits, stride
        self.norm = norm(inputs, rngs)
        self.kernel = _kernel(rngs, kernel, inputs, outputs)

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = quantise_weights(self.kernel[...], self.weight_bits)
        x = quantise_activations(self.norm(x), self.activation_bits)
        return conv2d(x, kernel, stride=self.stride)


class MixedQuantisedConv(nnx.Module):
    """One latent kernel at several precisions, and its input likewise, before one convolution.

    Convolution is linear in its kernel and in its input, so the mixture over all pairs of bits is
    `sum_ij w_i a_j conv(Q_i(W), Q_j(A)) = conv(sum_i w_i Q_i(W), sum_j a_j Q_j(A))`.

    References: Cai and Vasconcelos, "Rethinking Differentiable Search for Mixed-Precision Neural
    Networks" (EdMIPS), CVPR 2020.
    """

    def __init__(
        self, inputs: int, outputs: int, weight_bits: Sequence[int],
        activation_bits: Sequence[int], norm: Norm, rngs: nnx.Rngs, *, kernel: int = 3,
        stride: int = 1,
    ):  # fmt: skip
        self.weight_bits, self.activation_bits = tuple(weight_bits), tuple(activation_bits)
        self.stride = stride
        self.norm = norm(inputs, rngs)
        self.kernel = _kernel(rngs, kernel, inputs, outputs)

    def __call__(
        self, x: jax.Array, weight: jax.Array, index: jax.Array | None = None
    ) -> jax.Array:
        """Runs the convolution.

        Args:
          x: `[B, H, W, C]`.
          weight: `float32[2, K]`, gates of the weight bits and of the activation bits.
          index: `int32[2]`, the drawn bits, or None to mix.
        """
        drawn = (None, None) if index is None else (index[0], index[1])
        kernel = mix(quantise_weights, self.kernel[...], self.weight_bits, weight[0], drawn[0])
        x = mix(quantise_activations, self.norm(x), self.activation_bits, weight[1], drawn[1])
        return conv2d(x, kernel, stride=self.stride)


def mix(quantise, values: jax.Array, bits: Sequence[int], weight, index) -> jax.Array:
    """Returns `values` at several precisions, summed by weight; only the drawn one with `index`.

    Args:
      quantise: `(values, bits) -> values`.
      values: what is quantised.
      bits: the precisions.
      weight: `float32[K]`, the first of which are those of `bits`.
      index: `int32[]`, or None.
    """
    weight = weight.astype(values.dtype)
    if index is None:
        # The precisions are cheap to compute again, and as large as their input.
        one = jax.checkpoint(quantise, static_argnums=1)
        return sum(weight[i] * one(values, b) for i, b in enumerate(bits))
    branches = [jax.checkpoint(lambda v, b=b: quantise(v, b)) for b in bits]
    return weight[index] * jax.lax.switch(index, branches, values)


class QuantisedStem(_Layer):
    """The first convolution: its input is an image of 8-bit values."""

    activation_bits = 8

    def __init__(self, inputs: int, outputs: int, bits: int, rngs: nnx.Rngs, *, stride: int = 1):
        self.weight_bits, self.stride = bits, stride
        self.kernel = _kernel(rngs, 3, inputs, outputs)

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = quantise_weights(self.kernel[...], self.weight_bits)
        return conv2d(x, kernel, stride=self.stride)


class QuantisedHead(nnx.Module):
    """Normalisation, rectifier, global average, and a linear classifier of quantised weights."""

    def __init__(self, features: int, num_outputs: int, bits: int, norm: Norm, rngs: nnx.Rngs):
        self.bits = bits
        self.norm = norm(features, rngs)
        self.linear = nnx.Linear(features, num_outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(self.norm(x)).mean((1, 2))
        x = quantise_activations(x, self.bits)
        bias = cast(nnx.Param, self.linear.bias)[...]
        return x @ quantise_weights(self.linear.kernel[...], self.bits) + bias

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates and bias additions for one image."""
        del input_shape
        return (self.linear.in_features + 1) * self.linear.out_features

    def bit_operations(self, input_shape: tuple[int, ...]) -> int:
        """Returns weight bits times activation bits, summed over the multiply-accumulates."""
        del input_shape
        return self.linear.in_features * self.linear.out_features * self.bits**2

    def size_bits(self) -> int:
        """Returns the bits of what is stored."""
        whole = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(self, nnx.Param)))
        latent = math.prod(self.linear.kernel.shape)
        scales = 0 if self.bits == FULL else self.linear.out_features
        return self.bits * latent + FULL * (whole - latent + scales)


class BinaryConv(_Layer):
    """Normalisation, sign, and a convolution whose weights are a sign and a scale per channel.

    With `projected`, of the weights times a learned matrix, which is needed in training alone.

    References: Rastegari et al., "XNOR-Net: ImageNet Classification Using Binary Convolutional
    Neural Networks", ECCV 2016; Gu et al., "Projection Convolutional Neural Networks for 1-bit
    CNNs via Discrete Back Propagation" (PCNN), AAAI 2019.
    """

    weight_bits = activation_bits = 1

    def __init__(
        self, inputs: int, outputs: int, kernel: int, norm: Norm, rngs: nnx.Rngs, *,
        stride: int = 1, projected: bool = False,
    ):  # fmt: skip
        self.stride = stride
        self.norm = norm(inputs, rngs)
        self.kernel = _kernel(rngs, kernel, inputs, outputs)
        ones = jnp.ones((kernel, kernel, 1, 1))
        self.projection = nnx.data(nnx.Param(ones) if projected else None)

    def __call__(self, x: jax.Array) -> jax.Array:
        projection = None if self.projection is None else self.projection[...]
        kernel = binary_kernel(self.kernel[...], projection)
        return conv2d(binarise_activations(self.norm(x)), kernel, stride=self.stride)

    def size_bits(self) -> int:
        """Returns the bits of what is stored; the projection is part of the signs by then."""
        projection = 0 if self.projection is None else math.prod(self.projection.shape)
        return super().size_bits() - FULL * projection


def binary_kernel(kernel: jax.Array, projection: jax.Array | None = None) -> jax.Array:
    """Returns the binary values of a kernel `[k, k, I, O]`, projected if it has a projection."""
    return binarise_weights(kernel) if projection is None else project_weights(kernel, projection)


def shrink_and_widen(x: jax.Array, stride: int, channels: int) -> jax.Array:
    """Returns `x` (`[B, H, W, C]`) averaged over 2x2 blocks at stride 2, and zeros as new channels.

    The shortcut without parameters, where shapes change.

    References: He et al., "Deep Residual Learning", CVPR 2016 (option A).
    """
    if stride == 2:
        x = avg_pool_2x2(x)
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])))
