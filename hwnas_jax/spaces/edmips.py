"""Bits of the weights and of the activations, layer by layer, on a fixed residual backbone.

The supernet mixes quantised weights and quantised activations and then convolves once, whatever the
number of options. Zero bits, if they are offered, leave a residual block out (DNAS). The first and
the last layer have `ends` bits. Shortcuts have no parameters, so the bits of every other product
are decided.

References: Cai and Vasconcelos, "Rethinking Differentiable Search for Mixed-Precision Neural
Networks" (EdMIPS), CVPR 2020; Wu et al., "Mixed Precision Quantization of ConvNets via
Differentiable Neural Architecture Search" (DNAS), 2018; He et al., "Identity Mappings in Deep
Residual Networks", ECCV 2016 (the blocks).
"""

import functools
import itertools
import re
from collections.abc import Iterator
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le
from flax import nnx

from hwnas_jax.errors import UserError, choose, shown
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.nn.quantise import FULL
from hwnas_jax.nn.quantised import (
    MixedQuantisedConv,
    QuantisedConv,
    QuantisedHead,
    QuantisedStem,
    shrink_and_widen,
)
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
)
from hwnas_jax.spaces.core.mixture import Governed, Governor
from hwnas_jax.spaces.core.tabulate import OperationTable, made_once

_WORD = re.compile(r"w(\d+)a(\d+)")
_SKIP = "skip"
_MOST = 8
Sizes = tuple[int, int, int]


class _Block(nnx.Module):
    """Two convolutions beside a shortcut without parameters; a skipped block has none of them."""

    def __init__(self, convs, stride: int, outputs: int):
        self.convs, self.stride, self.outputs = nnx.List(convs), stride, outputs

    def __call__(self, x, weight=None, index=None, skips=False):
        """Runs the block.

        Args:
          x: `[B, H, W, C]`.
          weight: `float32[4, K]`, the gates of the block's four decisions; None in a network.
          index: `int32[4]`, the drawn options, or None to mix.
          skips: whether 0 bits are offered.
        """
        beside = shrink_and_widen(x, self.stride, self.outputs)
        return beside + self._branch(x, weight, index, skips)

    def _branch(self, x, weight, index, skips):
        if weight is None:
            for conv in self.convs:
                x = conv(x)
            return x if self.convs else jnp.zeros((), x.dtype)
        if index is None:
            return self.convs[1](self.convs[0](x, weight[:2]), weight[2:])
        if not skips:
            return self.convs[1](self.convs[0](x, weight[:2], index[:2]), weight[2:], index[2:])
        graph, state = nnx.split(self.convs)

        def run(x, state, weight, index):
            first, second = nnx.merge(graph, state)
            return second(first(x, weight[:2], index[:2]), weight[2:], index[2:])

        shape = jax.eval_shape(run, x, state, weight, index)

        def skip(x, state, weight, index):
            return jnp.zeros(shape.shape, shape.dtype)

        return jax.lax.cond(index[2] == 0, skip, jax.checkpoint(run), x, state, weight, index)


class _Backbone(nnx.Module):
    """Stem, blocks, head."""

    def __init__(self, space: "EdMIPS", make_convs, norm: Norm, rngs: nnx.Rngs):
        self.skips = space.skips
        self.stem = QuantisedStem(
            space.input_shape[2], space.channels, space.ends, rngs, stride=space.stem_stride
        )
        self.blocks = nnx.List(
            _Block(make_convs(number, sizes), sizes[0][2], sizes[0][1])
            for number, sizes in enumerate(space.blocks())
        )
        self.head = QuantisedHead(space.widths[-1], space.num_outputs, space.ends, norm, rngs)

    def __call__(self, x: jax.Array, gates: Gates | None = None) -> jax.Array:
        x = self.stem(x)
        for number, block in enumerate(self.blocks):
            if gates is None:
                x = block(x)
                continue
            rows = slice(4 * number, 4 * number + 4)
            index = None if gates.index is None else gates.index[rows]
            x = block(x, gates.weight[rows], index, self.skips)
        return self.head(x)


@SPACES.add
class EdMIPS(Governed, Space):
    """Bits of the weights and activations of a residual network's convolutions."""

    name = "edmips"
    summary = "bits of weights and activations, layer by layer; channels, blocks, stages, bits"

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        channels: Channels = 16,
        blocks: Repeats = 1,
        stages: Annotated[int, Ge(1), Le(8)] = 3,
        growth: Annotated[int, Ge(1), Le(8)] = 2,
        weights: Numbers = "1,2,3,4",
        activations: Numbers = "2,3,4",
        ends: Literal[1, 2, 3, 4, 5, 6, 7, 8, 32] = 8,
        stem_stride: Literal[1, 2] = 1,
    ):
        """Sets the sizes and the options.

        Args:
          input_shape: `(H, W, C)` of one image.
          num_outputs: outputs of the network.
          channels: width of the first stage.
          blocks: residual blocks per stage, two 3x3 convolutions each.
          stages: number of stages; each but the first halves the image.
          growth: factor on the width from one stage to the next.
          weights: the bits to choose from, 1 to 8 or 32. With 0 among them, blocks can be skipped
            ("0,2,4,8,32").
          activations: the bits to choose from, 1 to 8 or 32.
          ends: bits of the first and the last layer, 1 to 8 or 32.
          stem_stride: 2 halves the image in the stem.

        Raises:
          UserError: for bits out of range, or images too small to halve that often.
        """
        halvings = stages - 1 + (stem_stride == 2)
        if min(input_shape[:2]) < 2**halvings:
            raise UserError(
                f"{self.name} halves the image {halvings} times: it must be at least "
                f"{2**halvings} pixels wide and high, got {tuple(input_shape)}"
            )
        self.input_shape, self.num_outputs = image(input_shape), int(num_outputs)
        self.channels, self.depth, self.stages, self.growth = channels, blocks, stages, growth
        self.ends, self.stem_stride = ends, stem_stride
        self.weight_bits = _bits("weights", weights, 0)
        self.activation_bits = _bits("activations", activations, 1)
        self.skips = 0 in self.weight_bits
        kept = tuple(str(bits) for bits in self.weight_bits if bits)
        if not kept:
            raise UserError("space.args.weights must offer more than 0 bits")
        self.decisions = tuple(
            Decision(f"stage{stage}.block{block}.conv{conv}.{part}", options)
            for stage in range(1, stages + 1)
            for block in range(1, blocks + 1)
            for conv in (1, 2)
            for part, options in (
                ("weights", ("0", *kept) if conv == 2 and self.skips else kept),
                ("activations", tuple(map(str, self.activation_bits))),
            )
        )
        self.args = {
            "channels": channels, "blocks": blocks, "stages": stages, "growth": growth,
            "weights": joined(self.weight_bits), "activations": joined(self.activation_bits),
            "ends": ends, "stem_stride": stem_stride,
        }  # fmt: skip

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.channels * self.growth**stage for stage in range(self.stages))

    def blocks(self) -> Iterator[tuple[Sizes, Sizes]]:
        """Yields the `(inputs, outputs, stride)` of the two convolutions of each block."""
        inputs = self.channels
        for (stage, outputs), block in itertools.product(enumerate(self.widths), range(self.depth)):
            stride = 2 if stage and not block else 1
            yield (inputs, outputs, stride), (outputs, outputs, 1)
            inputs = outputs

    def bits(self, architecture: np.ndarray) -> np.ndarray:
        """Returns the bits `int[D]` that `architecture` (`int32[D]`) chooses, in decision order."""
        options = zip(self.decisions, self.check(architecture), strict=True)
        return np.array([int(decision.options[option]) for decision, option in options])

    def uniform(self, weights: int, activations: int) -> np.ndarray:
        """Returns the architecture `int32[D]` with the same bits everywhere.

        Raises:
          UserError: for bits that are not among the options.
        """
        names = {
            decision.name: str(weights if decision.name.endswith("weights") else activations)
            for decision in self.decisions
        }
        return self.from_names(names)

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        norm = supernet_norm(axis_name)

        def convs(number, sizes):
            return [
                MixedQuantisedConv(
                    inputs, outputs, self._options(4 * number + 2 * conv), self.activation_bits,
                    norm, rngs, stride=stride,
                )
                for conv, (inputs, outputs, stride) in enumerate(sizes)
            ]  # fmt: skip

        del rematerialise  # each precision is computed again anyway, and one mixture is kept
        return _Backbone(self, convs, norm, rngs)

    def _options(self, row):
        return tuple(int(option) for option in self.decisions[row].options)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        bits, norm = self.bits(architecture).reshape(-1, 2, 2).tolist(), network_norm(axis_name)

        def convs(number, sizes):
            if bits[number][1][0] == 0:
                return []
            return [
                QuantisedConv(inputs, outputs, weights, activations, norm, rngs, stride=stride)
                for (inputs, outputs, stride), (weights, activations) in zip(
                    sizes, bits[number], strict=True
                )
            ]

        return _Backbone(self, convs, norm, rngs)

    def inherit(self, network, architecture: np.ndarray, supernet) -> None:
        self.check(architecture)
        copy_weights(network, supernet, "stem", "head")
        for own, mixed in zip(network.blocks, supernet.blocks, strict=True):
            for chosen, options in zip(own.convs, mixed.convs, strict=False):  # no convs if skipped
                chosen.kernel[...] = options.kernel[...]

    @made_once
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table, norm, mask = OperationTable(), network_norm(), self.mask
        shape, ends = self.input_shape, self.ends
        table.stands(
            f"stem w{ends} {self.channels} stride {self.stem_stride}", shape,
            lambda r: QuantisedStem(shape[2], self.channels, ends, r, stride=self.stem_stride),
        )  # fmt: skip
        height, width = (-(-size // self.stem_stride) for size in shape[:2])
        for number, sizes in enumerate(self.blocks()):
            runs: list[tuple[tuple[int, int], ...]] = [()]
            if self.skips:
                row = 4 * number + 2
                runs = [((row, int(k)),) for k in np.flatnonzero(mask[row]) if k]
            for conv, (inputs, outputs, stride) in enumerate(sizes):
                row = 4 * number + 2 * conv
                options = itertools.product(*(np.flatnonzero(mask[r]) for r in (row, row + 1)))
                for i, j in options:
                    w, a = self._options(row)[i], self.activation_bits[j]
                    if not w:
                        continue
                    build = functools.partial(
                        QuantisedConv, inputs, outputs, w, a, norm, stride=stride
                    )
                    own = ((row, int(i)), (row + 1, int(j)))
                    for when in [()] if conv else runs:
                        table.stands(
                            f"conv w{w}a{a} {outputs} stride {stride}", (height, width, inputs),
                            build, own + when,
                        )  # fmt: skip
                height, width = -(-height // stride), -(-width // stride)
        table.stands(
            f"head w{ends}a{ends}", (height, width, self.widths[-1]),
            lambda r: QuantisedHead(self.widths[-1], self.num_outputs, ends, norm, r),
        )  # fmt: skip
        return table.result()

    @property
    def governors(self) -> tuple[Governor, ...]:
        """The bits of a block's second weights skip the block; its other bits then do nothing."""
        skipping = np.zeros((self.num_options, 3), bool)
        skipping[0] = True
        blocks = range(0, self.num_decisions if self.skips else 0, 4)
        return tuple(
            Governor(row + 2, (row, row + 1, row + 3), skipping & self.mask[row + 2, 0])
            for row in blocks
        )

    def active(self, weight: jax.Array) -> jax.Array:
        if not self.skips:
            return jnp.ones(self.num_decisions)
        runs = 1.0 - jnp.asarray(weight)[2::4, 0]
        return jnp.stack([runs, runs, jnp.ones_like(runs), runs], axis=1).reshape(-1)

    def to_string(self, architecture: np.ndarray) -> str:
        words = []
        for block in self.bits(architecture).reshape(-1, 2, 2).tolist():
            words += [f"w{w}a{a}" for w, a in block] if block[1][0] else [_SKIP]
        return "-".join(words)

    def from_string(self, text: str) -> np.ndarray:
        words, row = text.split("-"), 0
        names: dict[str, str] = {}
        for word in words:
            part = self.decisions[row : row + (4 if word == _SKIP else 2)]
            found = _WORD.fullmatch(word)
            skips = word == _SKIP and self.skips and row % 4 == 0
            if len(part) < 2 or not (found or skips):
                raise self._foreign(text)
            if skips:
                chosen = self.canonical(np.zeros((1, self.num_decisions), np.int32))[0]
                names |= {
                    decision.name: decision.options[option]
                    for decision, option in zip(part, chosen[row : row + 4], strict=True)
                }
            elif found is not None:
                for decision, bits in zip(part, found.groups(), strict=True):
                    what = f"bits of {decision.name} in {shown(text)}"
                    names[decision.name] = choose(bits, decision.options, what)
            row += len(part)
        if row != self.num_decisions:
            raise self._foreign(text)
        return self.from_names(names)

    def _foreign(self, text):
        skip = f", or {_SKIP} in place of two" if self.skips else ""
        return UserError(
            f"{shown(text)} is no {self.name} network; it has {self.num_decisions // 2} "
            f"convolutions, each such as w2a3{skip}, joined by '-'"
        )


def _bits(name, given, least):
    found = numbers(name, given, least, FULL)
    if any(_MOST < bits < FULL for bits in found):
        raise UserError(
            f"space.args.{name} must be {least} to {_MOST} bits, or {FULL}, such as '2,3,4'; got "
            f"{shown(given)}"
        )
    return found
