"""Numbers of channels: every layer of a mobile network decides how many channels it returns.

The backbone is MobileNetV2. A narrower layer has the first channels of the widest one, and a mask
stands for any mixture of widths, so a layer is one convolution whatever the number of options. A
layer's expansion is a multiple of its input channels, so its cost depends on its own decision and
on the decision before. If the input is added and has another number of channels, it is cut or
filled with zeros.

References: Wan et al., "FBNetV2: Differentiable Neural Architecture Search for Spatial and Channel
Dimensions", CVPR 2020; Sandler et al., "MobileNetV2", 2018.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Annotated, Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le
from flax import nnx

from hwnas_jax.errors import UserError, choose, shown
from hwnas_jax.nn.elastic import Drawn, ElasticStage, LayerSizes, Mixture
from hwnas_jax.nn.mbconv import ACTIVATIONS, ConvHead, ConvNorm, MBConv, round_channels
from hwnas_jax.nn.mobilenetv3 import InvertedResidual
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.nn.variables import copy_weights
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Decision, Operation, Place, Space
from hwnas_jax.spaces.core.arguments import (
    Halvings,
    Head,
    Width,
    halve,
    image,
    joined,
    numbers,
)
from hwnas_jax.spaces.core.tabulate import OperationTable, made_once

# Largest number of channels, layers and stride of each stage.
_STAGES = ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
_STEM, _FIRST = 32, 16


@SPACES.add
class Channels(Space):
    """Channels of every layer of MobileNetV2."""

    name = "channels"
    summary = (
        "channels out of each layer of MobileNetV2 by masks, FBNetV2; "
        "fractions, width, stages, depth, divisor, expansion, halvings, head, activation"
    )
    nested = (("layer*",),)

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        fractions: Sequence[float] | str = "0.5,0.75,1.0",
        width: Width = 1.0,
        stages: Annotated[int, Ge(1), Le(len(_STAGES))] = len(_STAGES),
        depth: Annotated[int, Ge(1), Le(4)] = 4,
        divisor: Annotated[int, Ge(1), Le(64)] = 8,
        expansion: Annotated[int, Ge(1), Le(12)] = 6,
        halvings: Halvings = 5,
        head: Head = 1280,
        activation: str = "relu6",
    ):
        """Sets the size; by default the widest network is MobileNetV2.

        Args:
          input_shape: `(H, W, C)` of one image.
          num_outputs: outputs of the network.
          fractions: the options of a layer, as fractions of its largest number of channels
            ("0.5,0.75,1.0"). Fractions that round to the same number of channels are one option.
          width: factor on all channels.
          stages: how many of the six stages there are, counted from the first.
          depth: largest number of layers of a stage.
          divisor: numbers of channels are multiples of this.
          expansion: width between the products, as a multiple of the input channels.
          halvings: how often the image is halved; if the strides halve it more often, the first of
            them become one.
          head: channels of the last convolution, before `width`.
          activation: a key of `hwnas_jax.nn.mbconv.ACTIVATIONS`.

        Raises:
          UserError: for fractions out of range, or images too small to halve so often.
        """
        self.width = float(width)
        self.fractions = numbers("fractions", fractions, 0.01, 1, kind=float)
        self.stages = _STAGES[:stages]
        self.depth, self.divisor, self.expansion, self.head = depth, divisor, expansion, head
        self.activation = choose(activation, ACTIVATIONS, "activation")
        self.input_shape, self.num_outputs = image(input_shape), int(num_outputs)
        every = [2, *(stride for _, _, stride in self.stages)]
        self.strides = halve(every, halvings, self.input_shape[:2])
        self.args = {
            "fractions": joined(self.fractions), "width": self.width,
            "stages": stages, "depth": depth, "divisor": divisor, "expansion": expansion,
            "halvings": halvings, "head": head, "activation": activation,
        }  # fmt: skip
        self.counts = tuple(min(layers, depth) for _, layers, _ in self.stages)
        number = itertools.count(1)
        self.decisions = tuple(
            Decision(f"layer{next(number)}", tuple(map(str, self.widths(stage))))
            for stage, count in enumerate(self.counts)
            for _ in range(count)
        )

    def _channels(self, features: float) -> int:
        return round_channels(features * self.width, self.divisor)

    def widths(self, stage: int) -> tuple[int, ...]:
        """Returns the channels that a layer of a stage may have; stage -1 is before the first."""
        if stage < 0:
            return (self._channels(_FIRST),)
        most = self.stages[stage][0]
        return tuple(sorted({self._channels(most * fraction) for fraction in self.fractions}))

    def layer_sizes(self, stage: int, layer: int) -> LayerSizes:
        """Returns the sizes of a layer's options."""
        first, widths = layer == 0, self.widths(stage)
        inputs = self.widths(stage - 1) if first else widths
        return LayerSizes(
            inputs=inputs, middles=tuple(self.expansion * n for n in inputs), widths=widths,
            kernels=(3,), stride=self.strides[1 + stage] if first else 1, residual=not first,
            activation=self.activation,
        )  # fmt: skip

    def _block(
        self, sizes: LayerSizes, before: int, own: int, norm: Norm, rngs: nnx.Rngs
    ) -> nnx.Module:
        return InvertedResidual(
            sizes.inputs[before], sizes.middles[before], sizes.widths[own], norm, rngs,
            kernel=3, stride=sizes.stride, activation=self.activation, residual=sizes.residual,
        )  # fmt: skip

    def _stem(self, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        return ConvNorm(
            self.input_shape[2], self._channels(_STEM), 3, norm, rngs, stride=self.strides[0],
            activation=self.activation,
        )  # fmt: skip

    def _first(self, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        return MBConv(
            self._channels(_STEM), self.widths(-1)[0], norm, rngs, expansion=1,
            activation=self.activation,
        )  # fmt: skip

    def _head(self, features: int, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        return ConvHead(
            features, self._channels(self.head), self.num_outputs, norm, rngs,
            activation=self.activation,
        )  # fmt: skip

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        return _Supernet(self, supernet_norm(axis_name), rngs, rematerialise)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        return _Network(self, self.check(architecture), network_norm(axis_name), rngs)

    def layers(self) -> list[tuple[int, int]]:
        """Returns the stage of each layer and its number in the stage, both from zero."""
        return [(stage, n) for stage, count in enumerate(self.counts) for n in range(count)]

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        target, source = cast(Any, network), cast(Any, supernet)
        copy_weights(target, source, "stem", "first")
        before = 0
        own = self.check(architecture).tolist()
        for block, (stage, layer), option in zip(target.body, self.layers(), own, strict=True):
            source.body[stage].layer(layer).give(block, 0, before, option)
            before = option
        features = self.widths(len(self.counts) - 1)[before]
        copy_weights(target.head, source.head, "linear")
        target.head.conv.kernel[...] = source.head.conv.kernel[:, :, :features]

    @made_once
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table, norm = OperationTable(), network_norm()
        table.stands("stem", self.input_shape, functools.partial(self._stem, norm))
        side = self._shrunk(self.input_shape[:2], self.strides[0])
        shape = (*side, self._channels(_STEM))
        table.stands("first", shape, functools.partial(self._first, norm))
        for row, (stage, layer) in enumerate(self.layers()):
            sizes = self.layer_sizes(stage, layer)
            pairs = itertools.product(enumerate(sizes.inputs), enumerate(sizes.widths))
            for (i, inputs), (j, features) in pairs:
                before = ((row - 1, i),) if row else ()
                table.stands(
                    f"to {features} stride {sizes.stride}{' residual' if sizes.residual else ''}",
                    (*side, inputs), functools.partial(self._block, sizes, i, j, norm),
                    (*before, (row, j)),
                )  # fmt: skip
            side = self._shrunk(side, sizes.stride)
        last = self.num_decisions - 1
        for j, features in enumerate(self.widths(len(self.counts) - 1)):
            build = functools.partial(self._head, features, norm)
            table.stands("head", (*side, features), build, ((last, j),))
        return table.result()

    @staticmethod
    def _shrunk(side, stride):
        return tuple(-(-size // stride) for size in side)

    def to_string(self, architecture: np.ndarray) -> str:
        """Returns the channels of the layers, "24-24-32"."""
        return "-".join(self.to_names(architecture).values())

    def from_string(self, text: str) -> np.ndarray:
        words = text.split("-")
        if len(words) != self.num_decisions:
            some = self.to_string(self.mask.argmax(-1).astype(np.int32))
            raise UserError(
                f"{shown(text)} is no network of {self.name}: it has {len(words)} layers where "
                f"{self.num_decisions} are wanted, as in {some!r}"
            )
        names = [decision.name for decision in self.decisions]
        return self.from_names(dict(zip(names, words, strict=True)))


class _Network(nnx.Module):
    def __init__(self, space: Channels, architecture: np.ndarray, norm: Norm, rngs: nnx.Rngs):
        self.stem, self.first = space._stem(norm, rngs), space._first(norm, rngs)
        blocks, before = [], 0
        for (stage, layer), option in zip(space.layers(), architecture.tolist(), strict=True):
            blocks.append(space._block(space.layer_sizes(stage, layer), before, option, norm, rngs))
            before = option
        self.body = nnx.List(blocks)
        self.head = space._head(space.widths(len(space.counts) - 1)[before], norm, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.first(self.stem(x))
        for block in self.body:
            x = block(x)
        return self.head(x)


class _Supernet(nnx.Module):
    """The widest network, whose layers are masked."""

    def __init__(self, space: Channels, norm: Norm, rngs: nnx.Rngs, rematerialise: bool):
        self.stem, self.first = space._stem(norm, rngs), space._first(norm, rngs)
        choices = [np.array([True]), *space.mask]
        stages, row = [], 0
        for number, count in enumerate(space.counts):
            allowed = [
                [
                    (0, int(i), int(j))
                    for i in np.flatnonzero(choices[row + n])
                    for j in np.flatnonzero(choices[row + n + 1])
                ]
                for n in range(count)
            ]
            later = sorted(set().union(*allowed[1:]))
            rest = space.layer_sizes(number, 1) if count > 1 else None
            stage = ElasticStage(
                space.layer_sizes(number, 0), rest, count, norm, rngs,
                allowed=(allowed[0], later or None), rematerialise=rematerialise,
            )  # fmt: skip
            stages.append(stage)
            row += count
        self.body = nnx.List(stages)
        self.head = space._head(max(space.widths(len(space.counts) - 1)), norm, rngs)

    def __call__(self, x: jax.Array, gates: Gates) -> jax.Array:
        x, start = self.first(self.stem(x)), 0
        weight, index = gates.weight, gates.index
        # The first layer's input has a fixed number of channels.
        before = jnp.concatenate([jnp.eye(1, weight.shape[1], dtype=weight.dtype), weight[:-1]])
        for stage in self.body:
            rows = slice(start, start + stage.count)
            start += stage.count
            if index is None:
                kernel = jnp.ones((stage.count, 1), weight.dtype)
                x = stage(x, Mixture(kernel, before[rows], width=weight[rows]))
                continue
            zero = jnp.zeros_like(index)
            drawn = jnp.stack([zero, jnp.append(zero[:1], index[:-1]), index, zero + 1], axis=1)
            share = jnp.take_along_axis(weight, index[:, None], axis=1)
            factors = jnp.concatenate([jnp.zeros_like(share), share], axis=1)
            x = stage(x, Drawn(drawn[rows], factors[rows]))
        return self.head(x)
