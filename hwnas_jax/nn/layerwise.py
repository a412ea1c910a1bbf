"""Layers of a supernet that each hold several blocks, and stages of such layers.

Legend: `B` batch, `C` channels, `K` options of a layer, `N` layers.

When all blocks run, the inverted residuals of a layer share their first product, and those of one
kernel size share the depthwise convolution. This is possible because normalisation without
parameters is per channel: channels side by side are normalised as they would be alone. When one
block is drawn, only that block runs, and only the layer's input is kept for the backward pass.
Equal layers are scanned, so that one layer is compiled for all of them.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn.kernels.convolution import conv2d
from hwnas_jax.nn.kernels.depthwise import depthwise_conv
from hwnas_jax.nn.mbconv import ACTIVATIONS, MBConv, shuffle
from hwnas_jax.nn.tally import carried
from hwnas_jax.nn.weight_norms import STACK_AXES


class MixedLayer(nnx.Module):
    """One layer and its blocks: `([B, H, W, C], float32[K], int32[]) -> [B, H', W', C']`.

    It holds blocks for the options whose `numbers` it was given; the gates of the other options
    must be zero.

    With `partial` channels, only the first `C / partial` channels go through the blocks. The others
    pass by, and then all channels are shuffled.

    References: Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient
    Architecture Search", ICLR 2020.
    """

    def __init__(
        self,
        options: Sequence[nnx.Module],
        *,
        partial: int = 1,
        numbers: Sequence[int] | None = None,
    ):
        self.options = nnx.List(options)
        self.partial = partial
        self.numbers = tuple(range(len(options)) if numbers is None else numbers)

    def __call__(self, x: jax.Array, weight: jax.Array, index: jax.Array | None) -> jax.Array:
        """Mixes all blocks by `weight`, or runs block `index` times `weight[index]`."""
        chex.assert_rank([x, weight], [4, 1])
        numbers = np.array(self.numbers)
        weight = weight[numbers]
        if index is not None:
            index = jnp.argmax(numbers == index)
        run = self._mixed if index is None else functools.partial(self._drawn, index=index)
        if self.partial == 1:
            return run(x, weight)
        served = x.shape[-1] // self.partial
        mixed = run(x[..., :served], weight)
        return shuffle(jnp.concatenate([mixed, x[..., served:]], -1), self.partial)

    def _drawn(self, x, weight, index):
        split = [nnx.split(option) for option in self.options]
        branches = tuple(_branch(i, graph) for i, (graph, _) in enumerate(split))
        return run_drawn_block(branches, x, index, ([state for _, state in split], weight[index]))

    def _mixed(self, x, weight):
        total = None
        blocks = {i: o for i, o in enumerate(self.options) if isinstance(o, MBConv)}
        passed = jnp.zeros((), weight.dtype)
        for i, (block, values) in enumerate(_inverted_residuals(x, list(blocks.values()))):
            factor = weight[list(blocks)[i]]
            total = _add(total, (factor * values).astype(x.dtype))
            passed = passed + factor if block.residual else passed
        if any(block.residual for block in blocks.values()):
            total = _add(total, (passed * x).astype(x.dtype))
        for i, option in enumerate(self.options):
            if i not in blocks:
                total = _add(total, (weight[i] * option(x)).astype(x.dtype))
        return total


class MixedStage(nnx.Module):
    """Layers in sequence. The first may change the shape, and the others are equal.

    Attributes:
      first: the first layer.
      rest: the other `N - 1` layers, with stacked weights; None if there are none.
      count: `N`.
    """

    def __init__(
        self,
        first: Callable[[nnx.Rngs], MixedLayer],
        rest: Callable[[nnx.Rngs], MixedLayer],
        count: int,
        rngs: nnx.Rngs,
        *,
        rematerialise: bool = False,
    ):
        """Builds the layers.

        Args:
          first: builds the first layer.
          rest: builds each of the others.
          count: `N`.
          rngs: for the initial weights.
          rematerialise: keep only the inputs of the layers, and run each layer's forward pass again
            in the backward pass.
        """
        self.first = first(rngs)
        self.rest = stacked(rest, count - 1, rngs) if count > 1 else None
        self.count, self.rematerialise = count, rematerialise

    def __call__(self, x: jax.Array, weight: jax.Array, index: jax.Array | None) -> jax.Array:
        """Runs the layers with gates `float32[N, K]` and `int32[N]` or None."""
        x = self._run(self.first)(x, weight[0], None if index is None else index[0])
        if self.rest is None:
            return x
        graph, state = nnx.split(self.rest)

        def layer(x, of):
            own, weight, index = of
            return self._run(nnx.merge(graph, own))(x, weight, index), None

        gates = (weight[1:], None if index is None else index[1:])
        if len(weight) == 2:
            return layer(x, jax.tree.map(lambda leaf: leaf[0], (state, *gates)))[0]
        return jax.lax.scan(layer, x, (state, *gates))[0]

    def _run(self, layer):
        return jax.checkpoint(layer.__call__) if self.rematerialise else layer

    def layer(self, number: int) -> MixedLayer:
        """Returns one of the layers."""
        if number == 0:
            return self.first
        assert self.rest is not None
        graph, state = nnx.split(self.rest)
        return nnx.merge(graph, jax.tree.map(lambda leaf: leaf[number - 1], state))

    def option_of(self, layer: int, option: int) -> nnx.State:
        """Returns the weights of one block of one layer."""
        if layer == 0:
            return nnx.state(self.first.options[self.first.numbers.index(option)], nnx.Param)
        assert self.rest is not None
        state = nnx.state(self.rest.options[self.rest.numbers.index(option)], nnx.Param)
        return jax.tree.map(lambda leaf: leaf[layer - 1], state)


def stacked(build: Callable[[nnx.Rngs], nnx.Module], count: int, rngs: nnx.Rngs) -> Any:
    """Returns `count` modules as one module whose weights have a leading axis of `count`."""

    @nnx.split_rngs(splits=count)
    @nnx.vmap(in_axes=0, out_axes=0)
    def make(rngs):
        return build(rngs)

    made: Any = make(rngs)
    setattr(made, STACK_AXES, 1)
    return made


def _add(total, term):
    return term if total is None else total + term


def _branch(number, graph):
    def run(x, states, factor):
        return (factor * nnx.merge(graph, states[number])(x)).astype(x.dtype)

    return run


def run_drawn_block(branches, x, index, operands):
    """Runs branch `index` on `x` and `operands`, and keeps only these for the backward pass.

    A plain `jax.lax.switch` would keep what the gradient of every branch needs.

    Args:
      branches: functions `(x, *operands)` whose results have one shape. They close over no traced
        value.
      x: arrays.
      index: `int32[]`.
      operands: tuple of arrays, or of trees of arrays.
    """
    branches, operands = carried(branches, operands)
    return _run_drawn_block(tuple(branches), x, index, operands)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run_drawn_block(branches, x, index, operands):
    return jax.lax.switch(index, branches, x, *operands)


def _drawn_forward(branches, x, index, operands):
    return jax.lax.switch(index, branches, x, *operands), (x, index, operands)


def _drawn_backward(branches, residuals, gradient):
    x, index, operands = residuals

    def pull_back(branch):
        return lambda gradient, x, *operands: jax.vjp(branch, x, *operands)[1](gradient)

    pulls = [pull_back(branch) for branch in branches]
    x_gradient, *own = jax.lax.switch(index, pulls, gradient, x, *operands)
    return x_gradient, None, tuple(own)


_run_drawn_block.defvjp(_drawn_forward, _drawn_backward)


def _inverted_residuals(x, blocks):
    """Returns each block with its output before the residual is added."""
    parts = [None if block.expand is not None else x for block in blocks]
    joint = [i for i, block in enumerate(blocks) if block.expand is not None and block.groups == 1]
    if joint:
        kernel = jnp.concatenate([blocks[i].expand.kernel[...] for i in joint], -1)
        values = conv2d(x, kernel.astype(x.dtype))
        values = _finish(values, blocks[joint[0]].expand)
        for i, part in zip(joint, _cut(values, [blocks[i] for i in joint]), strict=True):
            parts[i] = part
    for i, block in enumerate(blocks):
        if block.groups > 1:
            parts[i] = shuffle(block.expand(x), block.groups)
    sizes = [block.depthwise.kernel.shape[:2] for block in blocks]
    for size in sorted(set(sizes)):
        own = [i for i, other in enumerate(sizes) if other == size]
        shared = blocks[own[0]].depthwise
        kernel = jnp.concatenate([blocks[i].depthwise.kernel[...] for i in own], -1)
        values = depthwise_conv(
            jnp.concatenate([parts[i] for i in own], -1), kernel.astype(x.dtype),
            stride=shared.stride,
        )  # fmt: skip
        values = _finish(values, shared)
        for i, part in zip(own, _cut(values, [blocks[i] for i in own]), strict=True):
            parts[i] = part
    return [(block, block.narrow(part)) for block, part in zip(blocks, parts, strict=True)]


def _finish(values, layer):
    values = layer.norm(values)
    return values if layer.activation is None else ACTIVATIONS[layer.activation](values)


def _cut(values, blocks):
    return jax.lax.split(values, [block.middle for block in blocks], axis=-1)
