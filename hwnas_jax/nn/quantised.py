"""Layers of few bits: one precision each, or several mixed before a single convolution.

Every layer says `macs(input_shape)` and `bit_operations(input_shape)` for one image, and
`size_bits()` of its stored parameters. Weights are stored at their bits, with one 32-bit scale for
each output channel, and everything else at 32 bits.
"""

import abc
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
from hwnas_jax.nn.tally import relu

_init = nnx.initializers.he_uniform()


def _kernel(rngs, size, inputs, outputs):
    return nnx.Param(_init(rngs.params(), (size, size, inputs, outputs), jnp.float32))


class FewBits(nnx.Module):
    """A module whose weights or activations have few bits, and which counts them."""

    @abc.abstractmethod
    def bit_operations(self, input_shape: tuple[int, ...]) -> int:
        """Returns products of single bits for one image of `input_shape` `(H, W, C)`."""

    @abc.abstractmethod
    def size_bits(self) -> int:
        """Returns the bits that are stored."""


class _Layer(FewBits):
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
        """Returns the bits that are stored."""
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
    """One kernel and one input, each at several precisions that are mixed before one convolution.

    A convolution is linear in its kernel and in its input, so the mixture over all pairs of bits is
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
          weight: `float32[2, K]`, the gates of the weight bits and of the activation bits.
          index: `int32[2]`, the drawn bits, or None to mix.
        """
        drawn = (None, None) if index is None else (index[0], index[1])
        kernel = mix(quantise_weights, self.kernel[...], self.weight_bits, weight[0], drawn[0])
        x = mix(quantise_activations, self.norm(x), self.activation_bits, weight[1], drawn[1])
        return conv2d(x, kernel, stride=self.stride)


def mix(quantise, values: jax.Array, bits: Sequence[int], weight, index) -> jax.Array:
    """Returns the sum of `values` at several precisions, each times its weight.

    Args:
      quantise: `(values, bits) -> values`.
      values: the values to quantise.
      bits: the precisions.
      weight: `float32[K]`; the first entries belong to `bits`.
      index: `int32[]`, the only precision to run, or None for all.
    """
    weight = weight.astype(values.dtype)
    if index is None:
        # Values at one precision are as large as the input, and cheap to compute again.
        one = jax.checkpoint(quantise, static_argnums=1)
        return sum(weight[i] * one(values, b) for i, b in enumerate(bits))
    branches = [jax.checkpoint(lambda v, b=b: quantise(v, b)) for b in bits]
    return weight[index] * jax.lax.switch(index, branches, values)


class QuantisedStem(_Layer):
    """The first convolution; its input is an image of 8-bit values."""

    activation_bits = 8

    def __init__(self, inputs: int, outputs: int, bits: int, rngs: nnx.Rngs, *, stride: int = 1):
        self.weight_bits, self.stride = bits, stride
        self.kernel = _kernel(rngs, 3, inputs, outputs)

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = quantise_weights(self.kernel[...], self.weight_bits)
        return conv2d(x, kernel, stride=self.stride)


class QuantisedHead(FewBits):
    """Normalisation, rectifier, global average, and a linear layer of quantised weights."""

    def __init__(self, features: int, num_outputs: int, bits: int, norm: Norm, rngs: nnx.Rngs):
        self.bits = bits
        self.norm = norm(features, rngs)
        self.linear = nnx.Linear(features, num_outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = relu(self.norm(x)).mean((1, 2))
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
        """Returns the bits that are stored."""
        whole = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(self, nnx.Param)))
        latent = math.prod(self.linear.kernel.shape)
        scales = 0 if self.bits == FULL else self.linear.out_features
        return self.bits * latent + FULL * (whole - latent + scales)


class BinaryConv(_Layer):
    """Normalisation, sign, and a convolution whose weights are a sign and a scale per channel.

    With `projected`, the signs are those of the weights times a learned matrix, which is only
    needed in training.

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
        """Returns the bits that are stored; the projection is contained in the signs by then."""
        projection = 0 if self.projection is None else math.prod(self.projection.shape)
        return super().size_bits() - FULL * projection


def binary_kernel(kernel: jax.Array, projection: jax.Array | None = None) -> jax.Array:
    """Returns the binary values of a kernel `[k, k, I, O]`, or of its product with a projection."""
    return binarise_weights(kernel) if projection is None else project_weights(kernel, projection)


def shrink_and_widen(x: jax.Array, stride: int, channels: int) -> jax.Array:
    """Returns `x` (`[B, H, W, C]`), averaged over 2x2 blocks at stride 2, with channels of zeros.

    This is the shortcut without parameters between shapes that differ.

    References: He et al., "Deep Residual Learning", CVPR 2016 (option A).
    """
    if stride == 2:
        x = avg_pool_2x2(x)
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])))
