"""Kernel sizes and dilations on a fixed backbone, for images and for sequences.

The backbone is a wide residual network. Every 3x3 convolution of its blocks becomes a choice of
kernel size and dilation. The supernet mixes the kernels instead of the outputs, so it runs one
convolution whatever the number of options. A sequence is an image one pixel high.

References: Shen et al., "Efficient Architecture Search for Diverse Tasks" (DASH), NeurIPS 2022;
Zagoruyko and Komodakis, "Wide Residual Networks", 2016.
"""

import functools
import itertools
import re
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.errors import UserError, choose, shown
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.heads import HeadsPlan
from hwnas_jax.nn.kernels.convolution import conv2d
from hwnas_jax.nn.kernels.large_kernel import conv_large, effective_size, mix_kernels
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.nn.outputs import Output
from hwnas_jax.nn.tally import relu
from hwnas_jax.nn.variables import copy_weights
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Decision, Operation, Place, Space
from hwnas_jax.spaces.core.arguments import (
    Channels,
    Numbers,
    Repeats,
    image,
    joined,
    numbers,
    odd,
)
from hwnas_jax.spaces.core.heads import halving_stages, plan_heads, stand_heads
from hwnas_jax.spaces.core.tabulate import OperationTable, made_once

_init = nnx.initializers.he_uniform()
_STAGES = 3
Sizes = tuple[int, int, int]

_OPTION = re.compile(r"k(\d+)d(\d+)")


class ChosenConv(nnx.Module):
    """Normalisation, ReLU, and a convolution of one kernel size and dilation."""

    def __init__(
        self, inputs: int, outputs: int, shape: tuple[int, int], dilation: int, stride: int,
        norm: Norm, rngs: nnx.Rngs,
    ):  # fmt: skip
        self.dilation, self.stride = dilation, stride
        self.norm = norm(inputs, rngs)
        self.kernel = nnx.Param(_init(rngs.params(), (*shape, inputs, outputs), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        return _run(relu(self.norm(x)), self.kernel[...], self.dilation, self.stride)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width = (-(-size // self.stride) for size in input_shape[:2])
        return height * width * int(np.prod(self.kernel.shape))


class MixedConv(nnx.Module):
    """Normalisation, ReLU, and a convolution of all kernel sizes and dilations, or of one."""

    def __init__(self, inputs, outputs, shapes, dilations, stride, norm: Norm, rngs: nnx.Rngs):
        self.dilations, self.stride = tuple(dilations), stride
        self.norm = norm(inputs, rngs)
        self.kernels = nnx.List(
            nnx.Param(_init(rngs.params(), (*shape, inputs, outputs), jnp.float32))
            for shape in shapes
        )

    def __call__(self, x: jax.Array, weight: jax.Array, index: jax.Array | None) -> jax.Array:
        """Runs the convolution.

        Args:
          x: `[B, H, W, C]`.
          weight: `float32[K]`.
          index: `int32[]`, the drawn option, or None to mix.
        """
        x = relu(self.norm(x))
        kernels = [kernel[...].astype(x.dtype) for kernel in self.kernels]
        if index is None:
            mixed = mix_kernels(kernels, self.dilations, weight.astype(x.dtype))
            return conv_large(x, mixed, stride=self.stride)
        branches = [
            jax.checkpoint(lambda x, k, o=option, d=dilation: _run(x, k[o], d, self.stride))
            for option, dilation in enumerate(self.dilations)
        ]
        return weight[index].astype(x.dtype) * jax.lax.switch(index, branches, x, kernels)


def _run(x, kernel, dilation, stride):
    """Convolves with a dilated kernel; the stride is along axes longer than one."""
    kernel = kernel.astype(x.dtype)
    reach = max(effective_size(size, dilation) for size in kernel.shape[:2])
    if reach > 2 * max(x.shape[1:3]) - 1:
        return conv_large(x, mix_kernels([kernel], [dilation], jnp.ones(1, x.dtype)), stride=stride)
    return conv2d(x, kernel, stride=stride, dilation=dilation)


class ResidualBlock(nnx.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, convs, shortcut):
        self.convs, self.shortcut = nnx.List(convs), shortcut

    def __call__(self, x, *gates):
        y = x
        for conv, gate in zip(self.convs, gates or [()] * len(self.convs), strict=True):
            y = conv(y, *gate)
        return y + (x if self.shortcut is None else self.shortcut(x))


class _Shortcut(nnx.Module):
    """A 1x1 convolution at a stride."""

    def __init__(self, inputs: int, outputs: int, stride: int, rngs: nnx.Rngs):
        self.conv = ops.Conv(inputs, outputs, 1, rngs, stride)

    def __call__(self, x):
        return self.conv(x)

    def macs(self, input_shape):
        return self.conv.macs(input_shape)


class _Backbone(nnx.Module):
    """Stem, blocks, head."""

    def __init__(self, space: "Dash", make_conv, norm: Norm, rngs: nnx.Rngs):
        self.stem = ops.Conv(space.input_shape[2], space.channels, 1, rngs)
        self.blocks = nnx.List(
            ResidualBlock(
                [make_conv(2 * number + i, *sizes) for i, sizes in enumerate(convs)],
                None if shortcut is None else _Shortcut(*shortcut, rngs),
            )
            for number, (convs, shortcut) in enumerate(space.blocks())
        )
        self.depth = space.depth
        self.head = space.heads().build(norm, rngs)

    def __call__(self, x: jax.Array, *gates: Gates) -> jax.Array:
        return self.head(self.features(x, *gates))

    def features(self, x: jax.Array, gates: Gates | None = None) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, `[B, H, W, C]` each."""
        x, outputs = self.stem(x), []
        for number, block in enumerate(self.blocks):
            if gates is None:
                x = block(x)
            else:
                rows = (2 * number, 2 * number + 1)
                index = [None if gates.index is None else gates.index[row] for row in rows]
                x = block(x, *zip((gates.weight[row] for row in rows), index, strict=True))
            if (number + 1) % self.depth == 0:
                outputs.append(x)
        return tuple(outputs)


@SPACES.add
class Dash(Space):
    """Kernel sizes and dilations of a wide residual network's convolutions."""

    name = "dash"
    summary = "kernel size and dilation of every convolution, images or sequences; channels, blocks"
    has_features = True
    takes_outputs = True
    takes_sequences = True

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        outputs: Sequence[Output] = (),
        channels: Channels = 16,
        blocks: Repeats = 1,
        kernels: Numbers | None = None,
        dilations: Numbers | None = None,
    ):
        """Sets the size; two blocks are WRN-16.

        Args:
          input_shape: `(H, W, C)`; `H` is one for sequences.
          num_outputs: outputs of the network.
          outputs: what the network puts out; one vector if left out.
          channels: width of the first stage; the others have twice and four times as many.
          blocks: blocks per stage, two convolutions each.
          kernels: odd kernel sizes ("3,5,7"); the paper's if left out.
          dilations: spacings of a kernel's taps ("1,3,7"); the paper's if left out.

        Raises:
          UserError: for sizes below one, even kernels, or a sequence in the wrong layout.
        """
        height, width, features = image(input_shape)
        published = (3, 7, 11, 15, 19) if height == 1 else (3, 5, 7, 9)
        sizes = numbers("kernels", published if kernels is None else kernels, 1, 1023)
        gaps = numbers("dilations", (1, 3, 7, 15) if dilations is None else dilations, 1, 1023)
        odd("kernels", sizes)
        self.input_shape, self.num_outputs = (height, width, features), int(num_outputs)
        self.outputs = tuple(outputs)
        self.channels, self.depth = channels, blocks
        self.options = tuple(itertools.product(sizes, gaps))
        names = tuple(f"k{size}d{gap}" for size, gap in self.options)
        self.decisions = tuple(
            Decision(f"stage{stage}.block{block}.conv{conv}", names)
            for stage in range(1, _STAGES + 1)
            for block in range(1, blocks + 1)
            for conv in (1, 2)
        )
        self.args = {
            "channels": channels,
            "blocks": blocks,
            "kernels": joined(sizes),
            "dilations": joined(gaps),
        }

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.channels * 2**stage for stage in range(_STAGES))

    def blocks(self) -> Iterator[tuple[list[Sizes], Sizes | None]]:
        """Yields `(inputs, outputs, stride)` of each block's convolutions and of its shortcut."""
        inputs = self.channels
        for stage, outputs in enumerate(self.widths):
            for block in range(self.depth):
                stride = 2 if stage and not block else 1
                convs = [(inputs, outputs, stride), (outputs, outputs, 1)]
                shortcut = (inputs, outputs, stride) if stride > 1 or inputs != outputs else None
                yield convs, shortcut
                inputs = outputs

    def heads(self) -> HeadsPlan:
        """Returns what the heads read and return."""
        stages = halving_stages(self.input_shape, self.widths)
        return plan_heads(self, stages, self.channels, ops.Head)

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        norm = supernet_norm(axis_name)
        shapes = [ops.window(size, self.input_shape) for size, _ in self.options]
        gaps = [gap for _, gap in self.options]

        def conv(number, inputs, outputs, stride):
            del number
            return MixedConv(inputs, outputs, shapes, gaps, stride, norm, rngs)

        del rematerialise  # drawn branches always are, and a mixture keeps only one output
        return _Backbone(self, conv, norm, rngs)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        architecture, norm = self.check(architecture), network_norm(axis_name)

        def conv(number, inputs, outputs, stride):
            size, gap = self.options[architecture[number]]
            return ChosenConv(
                inputs, outputs, ops.window(size, self.input_shape), gap, stride, norm, rngs
            )

        return _Backbone(self, conv, norm, rngs)

    def inherit(self, network, architecture: np.ndarray, supernet) -> None:
        options_in_order = iter(self.check(architecture))
        copy_weights(network, supernet, "stem", "head")
        for own, mixed in zip(network.blocks, supernet.blocks, strict=True):
            for chosen, options in zip(own.convs, mixed.convs, strict=True):
                chosen.kernel[...] = options.kernels[int(next(options_in_order))][...]
            copy_weights(own, mixed, "shortcut")

    @made_once
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table = OperationTable()
        norm, shape, row = network_norm(), self.input_shape, 0
        table.stands("stem", shape, lambda r: ops.Conv(self.input_shape[2], self.channels, 1, r))
        shape = (*shape[:2], self.channels)
        for convs, shortcut in self.blocks():
            if shortcut is not None:
                table.stands(
                    f"shortcut {shortcut[1]}", shape, functools.partial(_Shortcut, *shortcut)
                )
            for inputs, outputs, stride in convs:
                for option, (size, gap) in enumerate(self.options):
                    build = functools.partial(
                        ChosenConv,
                        inputs,
                        outputs,
                        ops.window(size, self.input_shape),
                        gap,
                        stride,
                        norm,
                    )
                    table.stands(
                        f"k{size}d{gap} {outputs} stride {stride}", shape, build, ((row, option),)
                    )
                shape = (-(-shape[0] // stride), -(-shape[1] // stride), outputs)
                row += 1
        stand_heads(table, self.heads())
        return table.result()

    def to_string(self, architecture: np.ndarray) -> str:
        return "-".join(self.to_names(architecture).values())

    def from_string(self, text: str) -> np.ndarray:
        words = text.split("-")
        if len(words) != self.num_decisions or not all(map(_OPTION.fullmatch, words)):
            raise UserError(
                f"{shown(text)} is no {self.name} network; it has {self.num_decisions} choices "
                f"such as {self.decisions[0].options[0]}, joined by '-'"
            )
        names = self.decisions[0].options
        options = [choose(word, names, f"option in {shown(text)}") for word in words]
        return self.from_names(dict(zip([d.name for d in self.decisions], options, strict=True)))
