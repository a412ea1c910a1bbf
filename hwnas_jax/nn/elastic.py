"""Inverted residuals that contain smaller ones, and layers of them with a chosen depth.

Legend: `B` batch, `C` channels in and `C'` out at their widest, `N` layers; options `k` of the
kernel, `m` of the width between the products, `n` of the output channels.

A smaller kernel is the middle of the next larger one, in some spaces transformed by a learned
matrix. A narrower layer has the first channels. So a layer has one dense weight for each of its
convolutions, and its options are mixed by mixing weights and masks: each convolution runs once,
whatever the number of options. A mask follows the activation, so a masked channel is zero from
there on. Normalisation is per channel, so the other channels are not affected.

Gates between zero and one mean one convolution with the mean kernel. This is not the mean of the
convolutions' outputs once they have passed the activation, which is not linear. At one-hot gates
the layer is the chosen block.

When options are drawn, only the weights of the drawn block are read and only its channels computed.

References: Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient
Deployment", ICLR 2020; Stamoulis et al., "Single-Path NAS", ECML 2019; Wan et al., "FBNetV2",
CVPR 2020 (masks).
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.hierarchical import width_mask
from hwnas_jax.nn.kernels.convolution import matmul
from hwnas_jax.nn.kernels.depthwise import depthwise_conv
from hwnas_jax.nn.layerwise import run_drawn_block, stacked
from hwnas_jax.nn.mbconv import ACTIVATIONS
from hwnas_jax.nn.mobilenetv3 import HardExcite, fit_channels
from hwnas_jax.nn.normalisation import Norm

_init = nnx.initializers.he_uniform()


class Mixture(NamedTuple):
    """Gates of one layer that mixes all its options, or of `N` layers with a leading axis.

    Attributes:
      kernel: `float32[k]`.
      middle: `float32[m]`.
      width: `float32[n]`, or None for all channels.
      present: `float32[2]`, for the layer left out and for the layer present; None for present.
    """

    kernel: jax.Array
    middle: jax.Array
    width: jax.Array | None = None
    present: jax.Array | None = None


class Drawn(NamedTuple):
    """The options drawn for one layer, or for `N` layers with a leading axis.

    Attributes:
      index: `int32[4]`: the options of kernel, middle and width, and 1 if the layer is present.
      factor: `float32[2]`, on the output of a layer left out and of a layer that is present.
    """

    index: jax.Array  # type: ignore[assignment]
    factor: jax.Array


class LayerSizes(NamedTuple):
    """The sizes that an elastic layer can have.

    Attributes:
      inputs: input channels for each option of `middles`.
      middles: widths between the products.
      widths: output channels.
      kernels: sizes of the depthwise convolution, rising.
      excited: widths of squeeze-excitation for each option of `middles`; empty for none.
      stride: of the depthwise convolution.
      residual: whether the input is added.
      optional: whether the layer may be left out.
      activation: a key of `hwnas_jax.nn.mbconv.ACTIVATIONS`.
      transformed: whether a learned matrix transforms a kernel when it shrinks.
    """

    inputs: tuple[int, ...]
    middles: tuple[int, ...]
    widths: tuple[int, ...]
    kernels: tuple[int, ...]
    excited: tuple[int, ...] = ()
    stride: int = 1
    residual: bool = False
    optional: bool = False
    activation: str = "relu6"
    transformed: bool = False


class ElasticLayer(nnx.Module):
    """One layer with all its options: `([B, H, W, C], Mixture | Drawn) -> [B, H', W', C']`.

    Channels beyond the chosen ones are zero, both in the input and in the output.
    """

    def __init__(
        self,
        sizes: LayerSizes,
        norm: Norm,
        rngs: nnx.Rngs,
        allowed: Sequence[tuple[int, int, int]] | None = None,
    ):
        """Draws the weights.

        Args:
          sizes: the sizes that the layer can have.
          norm: factory of normalisations without parameters.
          rngs: for the initial weights.
          allowed: options of kernel, middle and width that may be drawn together; all by default.
        """
        chex.assert_equal(len(sizes.inputs), len(sizes.middles))
        self.sizes = sizes
        self.allowed = tuple(
            allowed
            or (
                (k, m, n)
                for k in range(len(sizes.kernels))
                for m in range(len(sizes.middles))
                for n in range(len(sizes.widths))
            )
        )
        most_in, most, most_out = max(sizes.inputs), max(sizes.middles), max(sizes.widths)
        largest = sizes.kernels[-1]

        def draw(*shape):
            return _init(rngs.params(), shape, jnp.float32)

        self.expand = nnx.Param(draw(1, 1, most_in, most))
        # Each output reads one channel, so the fan-in is the area of the kernel.
        self.depthwise = nnx.Param(draw(largest, largest, 1, most)[:, :, 0])
        self.project = nnx.Param(draw(1, 1, most, most_out))
        self.excite = HardExcite(most, max(sizes.excited), rngs) if sizes.excited else None
        self.shrink = nnx.List(
            nnx.Param(jnp.eye(size * size))
            for size in (sizes.kernels[:-1] if sizes.transformed else ())
        )
        self.norm = norm(most_out, rngs)

    def __call__(self, x: jax.Array, choice: Mixture | Drawn) -> jax.Array:
        """Mixes all options, or runs the drawn ones."""
        chex.assert_rank(x, 4)
        return self._drawn(x, choice) if isinstance(choice, Drawn) else self._mixed(x, choice)

    def kernel_of(self, option: int, middle: int | None = None) -> jax.Array:
        """Returns the kernel of one size for the first `middle` channels, `float32[s, s, m]`."""
        kernel = self.depthwise[..., :middle]
        for smaller in reversed(range(option, len(self.sizes.kernels) - 1)):
            size = self.sizes.kernels[smaller]
            margin = (kernel.shape[0] - size) // 2
            kernel = kernel[margin : margin + size, margin : margin + size]
            if self.sizes.transformed:
                flat = self.shrink[smaller][...] @ kernel.reshape(size * size, -1)
                kernel = flat.reshape(kernel.shape)
        return kernel

    def mixed_kernel(self, weight: jax.Array) -> jax.Array:
        """Returns the sum of all kernels, padded with zeros, each times its `weight` (`[k]`)."""
        largest = self.sizes.kernels[-1]
        total = jnp.zeros(())
        for option, size in enumerate(self.sizes.kernels):
            margin = ((largest - size) // 2,) * 2
            total = total + weight[option] * jnp.pad(
                self.kernel_of(option), (margin, margin, (0, 0))
            )
        return jnp.asarray(total)

    def alone(self, x: jax.Array, kernel: int, middle: int, width: int) -> jax.Array:
        """Runs the block that one option of each kind makes, `[B, H', W', C']`."""
        sizes = self.sizes
        inner, outputs = sizes.middles[middle], sizes.widths[width]
        y = self._convolve(x[..., : sizes.inputs[middle]], self.kernel_of(kernel, inner), inner)
        if self.excite is not None:
            y = self.excite(y, sizes.excited[middle])
        y = self.norm(matmul(y, self.project[0, 0, :inner, :outputs].astype(x.dtype)))
        y = y + fit_channels(x, outputs) if sizes.residual else y
        return fit_channels(y, max(sizes.widths))

    def give(self, block: Any, kernel: int, middle: int, width: int = 0) -> None:
        """Copies the weights of one option of each kind into `block`, which has their sizes."""
        sizes = self.sizes
        inputs, inner, outputs = sizes.inputs[middle], sizes.middles[middle], sizes.widths[width]
        block.expand.kernel[...] = self.expand[:, :, :inputs, :inner]
        block.depthwise.kernel[...] = self.kernel_of(kernel, inner)
        block.project.kernel[...] = self.project[:, :, :inner, :outputs]
        if self.excite is not None:
            hidden = sizes.excited[middle]
            for own, theirs, rows, columns in (
                (block.excite.reduce, self.excite.reduce, inner, hidden),
                (block.excite.expand, self.excite.expand, hidden, inner),
            ):
                own.kernel[...] = theirs.kernel[:rows, :columns]
                own.bias[...] = theirs.bias[:columns]  # type: ignore[index]

    def _mixed(self, x, mix):
        sizes = self.sizes
        y = self._convolve(x, self.mixed_kernel(mix.kernel), max(sizes.middles))
        y = y * width_mask(mix.middle, sizes.middles, max(sizes.middles)).astype(x.dtype)
        if self.excite is not None:
            hidden = width_mask(mix.middle, sizes.excited, max(sizes.excited))
            y = self.excite(y, mask=hidden)
        y = self.norm(matmul(y, self.project[0, 0].astype(x.dtype)))
        y = y + x if sizes.residual else y
        if mix.width is not None:
            y = y * width_mask(mix.width, sizes.widths, max(sizes.widths)).astype(x.dtype)
        if mix.present is not None and sizes.optional:
            y = mix.present[1] * y + mix.present[0] * x
        return y.astype(x.dtype)

    def _drawn(self, x, choice):
        graph, state = nnx.split(self)
        branches = [_alone(graph, combination) for combination in self.allowed]
        wanted, there = choice.index[:3], choice.index[3]
        index = jnp.argmax((jnp.array(self.allowed) == wanted).all(1))
        if self.sizes.optional:
            branches.append(_pass_on)
            index = jnp.where(there == 1, index, len(self.allowed))
        operands = (state, choice.factor[there])
        return run_drawn_block(tuple(branches), x, index, operands)

    def _convolve(self, x, kernel, middle):
        expand = self.expand[0, 0, : x.shape[-1], :middle].astype(x.dtype)
        y = self._finish(matmul(x, expand))
        return self._finish(depthwise_conv(y, kernel.astype(x.dtype), stride=self.sizes.stride))

    def _finish(self, values):
        return ACTIVATIONS[self.sizes.activation](self.norm(values))


def _pass_on(x, state, factor):
    del state
    return (factor * x).astype(x.dtype)


def _alone(graph, combination):
    def run(x, state, factor):
        return (factor * nnx.merge(graph, state).alone(x, *combination)).astype(x.dtype)

    return run


class ElasticStage(nnx.Module):
    """Layers in sequence. All but the first have equal sizes and are compiled once.

    Attributes:
      first: the first layer.
      rest: the other `N - 1` layers, with stacked weights; None if there are none.
      count: `N`.
    """

    def __init__(
        self,
        first: LayerSizes,
        rest: LayerSizes | None,
        count: int,
        norm: Norm,
        rngs: nnx.Rngs,
        *,
        allowed: Sequence[Sequence[tuple[int, int, int]] | None] = (None, None),
        rematerialise: bool = False,
    ):
        """Draws the weights.

        Args:
          first: sizes of the first layer.
          rest: sizes of each of the others.
          count: `N`.
          norm: factory of normalisations without parameters.
          rngs: for the initial weights.
          allowed: the argument of `ElasticLayer`, for the first layer and for the others.
          rematerialise: keep only the inputs of layers that mix for the backward pass.
        """
        self.first = ElasticLayer(first, norm, rngs, allowed[0])
        build = functools.partial(_layer, rest, norm, allowed[1])
        self.rest = stacked(build, count - 1, rngs) if count > 1 else None
        self.count, self.rematerialise = count, rematerialise

    def __call__(self, x: jax.Array, choices: Mixture | Drawn) -> jax.Array:
        """Runs the layers; every leaf of `choices` has a leading axis of `N`."""
        own = jax.tree.map(lambda leaf: leaf[0], choices)
        x = self._run(self.first)(x, own)
        if self.rest is None:
            return x
        graph, state = nnx.split(self.rest)

        def layer(x, of):
            state, choice = of
            return self._run(nnx.merge(graph, state))(x, choice), None

        return jax.lax.scan(layer, x, (state, jax.tree.map(lambda leaf: leaf[1:], choices)))[0]

    def _run(self, layer):
        return jax.checkpoint(layer.__call__) if self.rematerialise else layer

    def layer(self, number: int) -> ElasticLayer:
        """Returns one of the layers, counted from zero."""
        if number == 0:
            return self.first
        assert self.rest is not None
        graph, state = nnx.split(self.rest)
        return nnx.merge(graph, jax.tree.map(lambda leaf: leaf[number - 1], state))


def _layer(sizes, norm, allowed, rngs):
    return ElasticLayer(sizes, norm, rngs, allowed)
