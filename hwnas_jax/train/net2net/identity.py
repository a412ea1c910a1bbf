"""Blocks that are set so that they pass their input on, ready to learn something of their own.

The last factor of a residual branch becomes zero, so that the block computes its input. Its
gradient is not zero, and the branch comes to life in the first step of training.

References: Chen, Goodfellow and Shlens, "Net2Net", ICLR 2016; Goyal et al., "Accurate, Large
Minibatch SGD: Training ImageNet in 1 Hour", 2017 (the scale of the last normalisation at zero).
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import nnx

from hwnas_jax.errors import UserError
from hwnas_jax.nn.cells import FixedCell
from hwnas_jax.nn.darts import FixedCell as DartsCell
from hwnas_jax.nn.hierarchical import Skipped
from hwnas_jax.nn.mbconv import ConvNorm, MBConv
from hwnas_jax.nn.mobilenetv3 import InvertedResidual
from hwnas_jax.nn.operations import AvgPool3x3, Identity, Zero
from hwnas_jax.nn.residual import BasicBlock, BasicModule
from hwnas_jax.nn.transformer import MLP, Attention
from hwnas_jax.spaces.dash import ResidualBlock


@functools.singledispatch
def pass_on(block: Any) -> None:
    """Sets the weights of a block so that it passes its input on.

    A part of a transformer, which stands beside a residual connection, is set to return zeros.

    Args:
      block: the module to change.

    Raises:
      UserError: when a block of this kind cannot, which says why.
    """
    raise UserError(f"a new {type(block).__name__} cannot pass its input on")


@pass_on.register
def _(block: Identity) -> None:
    del block


@pass_on.register
def _(block: MBConv) -> None:
    if not block.residual:
        raise UserError("a new inverted residual without a residual cannot pass its input on")
    _silence(block.project)


@pass_on.register
def _(block: InvertedResidual) -> None:
    if not block.residual or block.expand.kernel.shape[2] != block.features:
        raise UserError("a new block that changes the channels cannot pass its input on")
    _silence(block.project)


@pass_on.register
def _(block: BasicModule) -> None:
    pass_on(block.first)
    pass_on(block.second)


@pass_on.register
def _(block: BasicBlock) -> None:
    if block.shortcut is not None:
        raise UserError("a new module that changes the shape cannot pass its input on")
    _silence(block.second)


@pass_on.register
def _(block: ResidualBlock) -> None:
    if block.shortcut is not None:
        raise UserError("a new block that changes the shape cannot pass its input on")
    _zero(block.convs[-1].kernel)


@pass_on.register
def _(block: Skipped) -> None:
    inner: Any = block.inner
    if block.skip != "identity":
        raise UserError(
            f"a new layer whose skip is {block.skip!r} cannot pass its input on; one whose skip is "
            "'identity' can"
        )
    # An activation behind the normalisation leaves zero as it is.
    _silence(inner.project if isinstance(inner, MBConv) else inner.conv)


@pass_on.register
def _(block: Attention) -> None:
    _zero(block.out.kernel)
    _zero(block.out.bias)


@pass_on.register
def _(block: MLP) -> None:
    _zero(block.reduce.kernel)
    _zero(block.reduce.bias)


@pass_on.register
def _(block: FixedCell) -> None:
    """Silences all convolutions; what is left must be one way of skips, which adds the input once.

    The convolutions begin with a ReLU, so that they cannot pass negative values on themselves.
    """
    ways, pools = {0: 1}, {0: 0}
    for edge, (target, source) in enumerate(block.pairs):
        ways.setdefault(target, 0)
        pools.setdefault(target, 0)
        operation: Any = block.edges[edge]
        if not block.runs[edge] or isinstance(operation, Zero):
            continue
        if isinstance(operation, Identity):
            ways[target] += ways[source]
            pools[target] += pools[source]
        elif isinstance(operation, AvgPool3x3):
            pools[target] += ways[source] + pools[source]
        else:
            _silence(operation)
    last = max(ways)
    if pools[last] or ways[last] != 1:
        raise UserError(
            "a new cell passes its input on only where exactly one way from its input to its "
            "output is made of skip_connect and none of poolings and skips; this cell has "
            f"{ways[last]} of the first kind and {pools[last]} of the second"
        )


@pass_on.register
def _(block: DartsCell) -> None:
    del block
    raise UserError(
        "a new cell of DARTS cannot pass its input on: it squeezes four times the channels of its "
        "nodes into one, behind a ReLU. Only the channels of such networks can grow"
    )


def _silence(layer: Any) -> None:
    """Makes a convolution with a normalisation behind it return zeros."""
    norm = layer.norm if isinstance(layer, ConvNorm) or hasattr(layer, "norm") else None
    if norm is None or getattr(norm, "scale", None) is None:
        raise UserError(f"a new {type(layer).__name__} has no scale that could be zero")
    _zero(norm.scale)
    _zero(norm.bias)


def _zero(parameter: nnx.Param) -> None:
    parameter[...] = jnp.zeros_like(parameter[...])
