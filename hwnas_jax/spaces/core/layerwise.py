"""The common part of layer-wise mobile spaces: stages of layers, each of which chooses its block.

A network is a stem, in some spaces one fixed block, stages of searched layers, and a head. The
shapes of the layers are fixed, so costs add up over the layers.
"""

import abc
import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self, cast

import jax
import numpy as np
from annotated_types import Ge, Le
from flax import nnx

from hwnas_jax.errors import UserError, choose, shown
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.heads import HeadsPlan
from hwnas_jax.nn.layerwise import MixedLayer, MixedStage
from hwnas_jax.nn.mbconv import ACTIVATIONS, ConvHead, ConvNorm, MBConv, round_channels
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.nn.outputs import Output
from hwnas_jax.nn.variables import copy_weights
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import Block, Decision, Operation, Place, Space
from hwnas_jax.spaces.core.arguments import (
    Halvings,
    Head,
    Repeats,
    Width,
    halve,
    image,
    whole,
)
from hwnas_jax.spaces.core.heads import plan_heads, stand_heads
from hwnas_jax.spaces.core.layers import Inverted, Layer, Skip, Stage
from hwnas_jax.spaces.core.tabulate import OperationTable, made_once


class Layerwise(Space, abc.ABC):
    """A space of layers; a subclass says which layers and blocks there are.

    The supernet adds the blocks of a layer, each times its gate. Gates that choose several blocks
    mean their sum; a residual is then added once for every block, times its gate.

    Attributes:
      stem_features: channels of the first convolution, 3x3, whose stride halves the image first.
      first_features: channels of a fixed block (3x3, expansion 1) after the stem; zero for none.
      stages: the searched layers.
      default_head: channels of the last convolution.
      blocks: options by name.
      default_halvings: how often the published network halves the image, the stem included.
      default_activation: activation of the published network.
      default_se: whether the published blocks have squeeze-excitation.
      separator: between the options of a string.
    """

    adds_options: ClassVar[bool] = True
    has_features: ClassVar[bool] = True
    takes_outputs: ClassVar[bool] = True
    takes_sequences: ClassVar[bool] = True

    stem_features: ClassVar[int]
    first_features: ClassVar[int] = 0
    stages: ClassVar[tuple[Stage, ...]]
    default_head: ClassVar[int] = 1280
    blocks: ClassVar[dict[str, Inverted | Skip]]
    default_halvings: ClassVar[int] = 5
    default_activation: ClassVar[str] = "relu6"
    default_se: ClassVar[bool] = False
    separator: ClassVar[str] = "-"

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        outputs: Sequence[Output] = (),
        width: Width = 1.0,
        depth: Repeats | None = None,
        halvings: Halvings | None = None,
        head: Head | None = None,
        activation: str | None = None,
        se: bool | None = None,
        partial: Annotated[int, Ge(1), Le(64)] = 1,
    ):
        """Sets the size; an option that is left out is as published.

        Args:
          input_shape: `(H, W, C)` of one image.
          num_outputs: outputs of the network.
          outputs: what the network puts out; one vector if left out.
          width: factor on all channels, which are then rounded to multiples of eight.
          depth: largest number of layers of a stage.
          halvings: how often the image is halved; if the strides halve it more often, the first of
            them become one.
          head: channels of the last convolution, before `width`.
          activation: a key of `hwnas_jax.nn.mbconv.ACTIVATIONS`.
          se: whether blocks have squeeze-excitation, to a quarter of the block's input channels.
          partial: in the supernet, one in so many channels goes through the blocks of a layer
            that keeps its shape; the others pass by.

        Raises:
          UserError: for arguments out of range, images too small to halve so often, and channels
            that `partial` does not divide.
        """
        most = max(stage.layers for stage in self.stages)
        depth = most if depth is None else depth
        halvings = self.default_halvings if halvings is None else halvings
        head = self.default_head if head is None else head
        se = self.default_se if se is None else se
        activation = self.default_activation if activation is None else activation
        whole("depth", depth, 1, most)
        whole("halvings", halvings, 0, self.default_halvings)
        choose(activation, ACTIVATIONS, "activation")
        self.input_shape, self.num_outputs = image(input_shape), int(num_outputs)
        self.outputs = tuple(outputs)
        self.width, self.depth, self.halvings = float(width), depth, halvings
        self.head, self.activation, self.se, self.partial = head, activation, se, partial
        self.args: dict[str, Any] = {
            "width": self.width, "depth": depth, "halvings": halvings, "head": head,
            "activation": activation, "se": se, "partial": partial,
        }  # fmt: skip
        self.layers = self._lay_out()
        self.decisions = tuple(
            Decision(f"block{number}", layer.options) for number, layer in enumerate(self.every, 1)
        )

    @property
    def every(self) -> list[Layer]:
        """All searched layers, in order."""
        return [layer for stage in self.layers for layer in stage]

    def _channels(self, features: int) -> int:
        return features if self.width == 1 else round_channels(features * self.width)

    def _lay_out(self) -> tuple[tuple[Layer, ...], ...]:
        every = [2 if self._stem_halves else 1, *(stage.stride for stage in self.stages)]
        strides = halve(every, self.halvings, cast(tuple[int, int], self.input_shape[:2]))
        self.stem_stride = strides[0]
        height, width = (-(-size // strides[0]) for size in self.input_shape[:2])
        features = self._channels(self.first_features or self.stem_features)
        stages = []
        for stage, stride in zip(self.stages, strides[1:], strict=True):
            layers = []
            count = min(stage.layers, self.depth)
            for number in range(count):
                last = stage.last is not None and number == count - 1
                wanted = self._channels(stage.last if last else stage.features)  # type: ignore[arg-type]
                step = stride if number == 0 else 1
                shape = (height, width, features)
                layers.append(Layer(shape, wanted, step, self._options(shape, wanted, step)))
                if layers[-1].keeps_shape and features % self.partial:
                    raise UserError(
                        f"space.args.partial = {self.partial} does not divide the {features} "
                        f"channels of a layer"
                    )
                height, width, features = -(-height // step), -(-width // step), wanted
            stages.append(tuple(layers))
        return tuple(stages)

    @property
    def _stem_halves(self) -> bool:
        return self.default_halvings > sum(stage.stride == 2 for stage in self.stages)

    def _options(self, shape, features, stride) -> tuple[str, ...]:
        keeps = Layer(shape, features, stride, ()).keeps_shape
        return tuple(
            name for name, block in self.blocks.items()
            if keeps or not isinstance(block, Skip) or block.everywhere
        )  # fmt: skip

    def _block(self, option: str, layer: Layer, norm: Norm, rngs: nnx.Rngs, share: int = 1):
        """Builds one option of a layer; it serves one in `share` channels."""
        block = self.blocks[option]
        features_in, features = layer.shape[2] // share, layer.features // share
        if isinstance(block, Inverted):
            se_features = max(1, features_in // 4) if self.se else 0
            return MBConv(
                features_in, features, norm, rngs, stride=layer.stride,
                kernel=ops.window(block.kernel, self.input_shape), expansion=block.expansion,
                groups=block.groups, always_expand=block.always_expand,
                activation=self.activation, se_features=se_features,
            )  # fmt: skip
        if layer.keeps_shape:
            return ops.Identity()
        activation = self.activation if block.activated else None
        return ConvNorm(
            features_in, features, 1, norm, rngs, stride=layer.stride, activation=activation
        )

    def _stem(self, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        return ConvNorm(
            self.input_shape[2], self._channels(self.stem_features),
            ops.window(3, self.input_shape), norm, rngs, stride=self.stem_stride,
            activation=self.activation,
        )  # fmt: skip

    def _first(self, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        stem = self._channels(self.stem_features)
        return MBConv(
            stem, self._channels(self.first_features), norm, rngs, expansion=1,
            kernel=ops.window(3, self.input_shape), activation=self.activation,
            se_features=max(1, stem // 4) if self.se else 0,
        )  # fmt: skip

    @property
    def cut_blocks(self) -> tuple[Block, ...]:
        """A block for each stage; its parts are its layers, after the stem in the first block."""
        numbers = iter(range(len(self.every)))
        layers = [tuple((next(numbers),) for _ in stage) for stage in self.layers]
        return tuple(Block((*([()] if not k else []), *own)) for k, own in enumerate(layers))

    def heads(self) -> HeadsPlan:
        """Returns what the heads read and return."""
        stages = [stage[-1].result for stage in self.layers]
        return plan_heads(self, stages, stages[0][2], self._vector_head)

    def _vector_head(self, features, num_outputs, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        head = self._channels(self.head)
        return ConvHead(features, head, num_outputs, norm, rngs, activation=self.activation)

    def restricted(self, off: Mapping[str, Sequence[str]]) -> Self:
        space = super().restricted(off)
        names = iter(decision.name for decision in self.decisions)
        space.layers = tuple(
            tuple(dataclasses.replace(layer, off=space.off.get(next(names), ())) for layer in stage)
            for stage in self.layers
        )
        return space

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        norm = supernet_norm(axis_name)

        def mixed(layer):
            share = self.partial if layer.keeps_shape else 1
            return lambda rngs: MixedLayer(
                [self._block(name, layer, norm, rngs, share) for name in layer.offered.values()],
                partial=share,
                numbers=tuple(layer.offered),
            )

        def stage(run, rngs):
            rest = run[1] if len(run) > 1 else run[0]
            return MixedStage(
                mixed(run[0]), mixed(rest), len(run), rngs, rematerialise=rematerialise
            )

        return _Supernet(self, lambda r: [stage(run, r) for run in self.runs()], norm, rngs)

    def runs(self) -> list[tuple[Layer, ...]]:
        """Returns the layers in runs; in each run, all layers but the first are equal."""
        runs: list[list[Layer]] = []
        for stage in self.layers:
            for number, layer in enumerate(stage):
                if number == 0 or (number > 1 and layer != stage[number - 1]):
                    runs.append([])
                runs[-1].append(layer)
        return [tuple(run) for run in runs]

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        names = iter(self.to_names(architecture).values())
        norm = network_norm(axis_name)

        def build(rngs):
            return [self._block(next(names), layer, norm, rngs) for layer in self.every]

        return _Network(self, build, norm, rngs)

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        if self.partial > 1:
            raise UserError(
                f"the supernet has the weights of one in {self.partial} channels only "
                f"(space.args.partial); a network cannot inherit them"
            )
        architecture = self.check(architecture)
        target, source = cast(_Network, network), cast(_Supernet, supernet)
        copy_weights(target, source, "stem", "first", "head")
        position = 0
        for stage in source.body:
            for number in range(stage.count):
                option = stage.option_of(number, int(architecture[position]))
                nnx.update(target.body[position], option)
                position += 1

    @made_once
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table, norm = OperationTable(), network_norm()
        table.stands("stem", self.input_shape, functools.partial(self._stem, norm))
        if self.first_features:
            height, width = (-(-size // self.stem_stride) for size in self.input_shape[:2])
            shape = (height, width, self._channels(self.stem_features))
            table.stands("first", shape, functools.partial(self._first, norm))
        for decision, layer in enumerate(self.every):
            for option, name in layer.offered.items():
                if isinstance(self.blocks[name], Skip) and layer.keeps_shape:
                    continue
                table.stands(
                    f"{name} to {layer.features} stride {layer.stride}", layer.shape,
                    functools.partial(self._block, name, layer, norm), ((decision, option),),
                )  # fmt: skip
        stand_heads(table, self.heads())
        return table.result()

    def to_string(self, architecture: np.ndarray) -> str:
        return self.separator.join(self.to_names(architecture).values())

    def from_string(self, text: str) -> np.ndarray:
        words = text.split(self.separator) if self.separator else list(text)
        if len(words) != self.num_decisions:
            raise UserError(
                f"{shown(text)} is no network of {self.name}: it has {len(words)} blocks where "
                f"{self.num_decisions} are wanted, as in {self.to_string(self._some())!r}"
            )
        names = [decision.name for decision in self.decisions]
        return self.from_names(dict(zip(names, words, strict=True)))

    def _some(self) -> np.ndarray:
        return self.mask.argmax(-1).astype(np.int32)


class _Skeleton(nnx.Module):
    """Stem, fixed block if any, searched layers, heads."""

    def __init__(self, space: Layerwise, body, norm: Norm, rngs: nnx.Rngs):
        self.stem = space._stem(norm, rngs)
        self.first = space._first(norm, rngs) if space.first_features else None
        self.body = nnx.List(body(rngs))
        self.head = space.heads().build(norm, rngs)
        self.ends = tuple(itertools.accumulate(map(len, space.layers)))

    def enter(self, x):
        x = self.stem(x)
        return x if self.first is None else self.first(x)


class _Network(_Skeleton):
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.features(x))

    def features(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, `[B, H, W, C]` each."""
        x, outputs = self.enter(x), []
        for number, block in enumerate(self.body, 1):
            x = block(x)
            if number in self.ends:
                outputs.append(x)
        return tuple(outputs)


class _Supernet(_Skeleton):
    def __call__(self, x: jax.Array, gates: Gates) -> jax.Array:
        return self.head(self.features(x, gates))

    def features(self, x: jax.Array, gates: Gates) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, `[B, H, W, C]` each."""
        outputs = []
        for number in range(len(self.ends)):
            x = self.block(number, x, gates)
            outputs.append(x)
        return tuple(outputs)

    def block(self, number: int, x: jax.Array, gates: Gates) -> jax.Array:
        """Runs one stage, the first with the stem before it."""
        if number == 0:
            x = self.enter(x)
        start = 0
        for run in self.body:
            end = start + run.count
            if start < self.ends[number] and start >= (self.ends[number - 1] if number else 0):
                own = slice(start, end)
                x = run(x, gates.weight[own], None if gates.index is None else gates.index[own])
            start = end
        return x

    def part(self, number: int, place: int, x: jax.Array, gates: Gates) -> jax.Array:
        """Runs one layer of a stage; in the first stage, place zero is the stem."""
        if number == 0 and place == 0:
            return self.enter(x)
        layer = place - 1 if number == 0 else self.ends[number - 1] + place
        start = 0
        for run in self.body:
            if start <= layer < start + run.count:
                index = None if gates.index is None else gates.index[layer]
                return run.layer(layer - start)(x, gates.weight[layer], index)
            start += run.count
        raise ValueError(f"there is no part {place} of block {number}")
