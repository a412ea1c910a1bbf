"""Once-for-All: MobileNetV3 with elastic kernels, expansions, depths and image sizes.

There are five units of up to four layers. A unit's depth says how many of its layers there are,
counted from the first. Each layer has a kernel size and an expansion of its own; those of a layer
that is left out have no effect. Squeeze-excitation and activations are those of MobileNetV3-large,
unit by unit.

References: Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient
Deployment", ICLR 2020; Howard et al., "Searching for MobileNetV3", 2019.
"""

import functools
import itertools
import re
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.errors import UserError, choose, shown
from hwnas_jax.nn.elastic import Drawn, ElasticStage, LayerSizes, Mixture
from hwnas_jax.nn.mbconv import ConvNorm, MBConv, round_channels
from hwnas_jax.nn.mobilenetv3 import InvertedResidual, MixedHead, excited_width
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.nn.resize import Resize, resize, run_resized
from hwnas_jax.nn.variables import copy_weights
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Decision, Operation, Place, Space
from hwnas_jax.spaces.core.arguments import (
    Halvings,
    Numbers,
    Width,
    halve,
    image,
    joined,
    numbers,
    odd,
)
from hwnas_jax.spaces.core.mixture import Governed, Governor, last_options
from hwnas_jax.spaces.core.tabulate import OperationTable, made_once

# Channels, stride, squeeze-excitation, activation.
_UNITS = (
    (24, 2, False, "relu"),
    (40, 2, True, "relu"),
    (80, 2, False, "hard_swish"),
    (112, 1, True, "hard_swish"),
    (160, 2, True, "hard_swish"),
)
_STEM, _EXPANDED, _LAST = 16, 960, 1280
_LAYER = re.compile(r"k(\d+)e(\d+)")


@SPACES.add
class OFA(Governed, Space):
    """Once-for-All's space at any width."""

    name = "ofa"
    summary = (
        "depth of each unit, kernel and expansion of each layer, image size, Once-for-All; "
        "width, units, depths, kernels, expansions, resolutions, halvings"
    )
    nested = (("*.kernel",), ("*.depth",), ("*.expansion",))

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        width: Width = 1.0,
        units: Numbers = "1,2,3,4,5",
        depths: Numbers = "2,3,4",
        kernels: Numbers = "3,5,7",
        expansions: Numbers = "3,4,6",
        resolutions: Numbers = "",
        halvings: Halvings = 5,
    ):
        """Sets the size; by default as published, for images of one size.

        Args:
          input_shape: `(H, W, C)` of one image.
          num_outputs: outputs of the network.
          width: factor on all channels, which are rounded to multiples of eight.
          units: which of the five units there are.
          depths: numbers of layers that a unit may have ("2,3,4").
          kernels: odd kernel sizes.
          expansions: widths between the products, as multiples of a layer's channels.
          resolutions: sizes of the square to which the network may resize its images first;
            multiples of four ("128,160,192,224"). If left out, images keep their size.
          halvings: how often the image is halved; if the strides halve it more often, the first of
            them become one.

        Raises:
          UserError: for numbers out of range, images or resolutions too small to halve that often,
            and resolutions that are not multiples of four.
        """
        self.width = float(width)
        chosen = numbers("units", units, 1, len(_UNITS))
        self.units = tuple(_UNITS[unit - 1] for unit in chosen)
        self.depths = numbers("depths", depths, 1, 64)
        self.kernels = numbers("kernels", kernels, 1, 63)
        self.expansions = numbers("expansions", expansions, 1, 64)
        odd("kernels", self.kernels)
        self.input_shape, self.num_outputs = image(input_shape), int(num_outputs)
        self.resolutions = numbers("resolutions", resolutions, 4, 4096) if resolutions else ()
        every = [2, *(stride for _, stride, _, _ in self.units)]
        self.strides = halve(every, halvings, self.input_shape[:2])
        least = max(4, 2 ** self.strides.count(2))
        if any(size % 4 or size < least for size in self.resolutions):
            raise UserError(
                f"space.args.resolutions must be multiples of 4 and at least {least}, which is "
                f"halved {self.strides.count(2)} times; got {shown(resolutions)}"
            )
        self.args = {
            "width": self.width, "units": joined(chosen), "depths": joined(self.depths),
            "kernels": joined(self.kernels), "expansions": joined(self.expansions),
            "resolutions": joined(self.resolutions), "halvings": halvings,
        }  # fmt: skip
        self.decisions = tuple(self._decide())

    def _decide(self):
        if self.resolutions:
            yield Decision("resolution", tuple(map(str, self.resolutions)))
        for unit in range(1, len(self.units) + 1):
            yield Decision(f"unit{unit}.depth", tuple(map(str, self.depths)))
            for layer in range(1, max(self.depths) + 1):
                yield Decision(f"unit{unit}.layer{layer}.kernel", tuple(map(str, self.kernels)))
                options = tuple(map(str, self.expansions))
                yield Decision(f"unit{unit}.layer{layer}.expansion", options)

    def depth_row(self, unit: int) -> int:
        """Returns the number of the decision on a unit's depth.

        The decisions on the kernel and the expansion of each of its layers follow.
        """
        return bool(self.resolutions) + unit * (1 + 2 * max(self.depths))

    def _layer_row(self, unit: int, layer: int) -> int:
        return self.depth_row(unit) + 1 + 2 * layer

    def _channels(self, features: int) -> int:
        return round_channels(features * self.width)

    def layer_sizes(self, unit: int, layer: int) -> LayerSizes:
        """Returns the sizes of a layer's options."""
        features, _, excited, activation = self.units[unit]
        first, wanted = layer == 0, self._channels(features)
        before = self.units[unit - 1][0] if unit else _STEM
        inputs = self._channels(before) if first else wanted
        stride = self.strides[1 + unit] if first else 1
        middles = tuple(round_channels(round(inputs * e)) for e in self.expansions)
        return LayerSizes(
            inputs=(inputs,) * len(middles), middles=middles, widths=(wanted,),
            kernels=self.kernels, excited=tuple(map(excited_width, middles)) if excited else (),
            stride=stride, residual=stride == 1 and inputs == wanted,
            optional=not first and len(self.depths) > 1, activation=activation, transformed=True,
        )  # fmt: skip

    def _block(self, unit, layer, kernel, expansion, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        sizes = self.layer_sizes(unit, layer)
        return InvertedResidual(
            sizes.inputs[0], sizes.middles[expansion], sizes.widths[0], norm, rngs,
            kernel=self.kernels[kernel], stride=sizes.stride, activation=sizes.activation,
            excited=sizes.excited[expansion] if sizes.excited else 0, residual=sizes.residual,
        )  # fmt: skip

    def _stem(self, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        return ConvNorm(
            self.input_shape[2], self._channels(_STEM), 3, norm, rngs, stride=self.strides[0],
            activation="hard_swish",
        )  # fmt: skip

    def _first(self, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        stem = self._channels(_STEM)
        return MBConv(stem, stem, norm, rngs, expansion=1, activation="relu")

    def _head(self, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        last = self._channels(self.units[-1][0])
        return MixedHead(last, self._channels(_EXPANDED), self._channels(_LAST), self.num_outputs,
                     norm, rngs)  # fmt: skip

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        return _Supernet(self, supernet_norm(axis_name), rngs, rematerialise)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        return _Network(self, self.check(architecture), network_norm(axis_name), rngs)

    def layers_of(self, architecture: np.ndarray) -> list[tuple[int, int, int, int]]:
        """Returns unit, layer, kernel option and expansion option of each layer that is present."""
        found = []
        for unit in range(len(self.units)):
            for layer in range(self.depths[architecture[self.depth_row(unit)]]):
                row = self._layer_row(unit, layer)
                found.append((unit, layer, int(architecture[row]), int(architecture[row + 1])))
        return found

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        target, source = cast(_Network, network), cast(_Supernet, supernet)
        copy_weights(target, source, "stem", "first", "head")
        layers = self.layers_of(self.check(architecture))
        for block, (unit, layer, kernel, expansion) in zip(target.layers, layers, strict=True):
            source.units[unit].layer(layer).give(block, kernel, expansion)

    @made_once
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table, norm = OperationTable(), network_norm()
        features = self.input_shape[2]
        sizes: list[tuple[tuple[int, int], tuple[tuple[int, int], ...]]]
        sizes = [((size, size), ((0, i),)) for i, size in enumerate(self.resolutions)]
        for size, under in sizes or [(cast(tuple[int, int], self.input_shape[:2]), ())]:
            if not all(self.mask[pair] for pair in under):
                continue
            if size != self.input_shape[:2]:
                resized = lambda rngs, size=size: Resize(*size)  # noqa: E731
                table.stands(f"resize to {size[0]}", self.input_shape, resized, under)
            stem = functools.partial(self._stem, norm)
            table.stands("stem", (*size, features), stem, under)
            side = (-(-size[0] // self.strides[0]), -(-size[1] // self.strides[0]))
            shape = (*side, self._channels(_STEM))
            table.stands("first", shape, functools.partial(self._first, norm), under)
            for unit in range(len(self.units)):
                for layer in range(max(self.depths)):
                    shape = self._places(table, unit, layer, shape, under, norm)
            table.stands("head", shape, functools.partial(self._head, norm), under)
        return table.result()

    def _places(self, table, unit, layer, shape, under, norm):
        """Adds the places of a layer and returns the shape of its output."""
        sizes, row = self.layer_sizes(unit, layer), self._layer_row(unit, layer)
        mask = self.mask
        depths = [i for i, depth in enumerate(self.depths) if depth > layer]
        there = [((self.depth_row(unit), i),) for i in depths]
        if len(depths) == len(self.depths):
            there = [()]
        for (k, kernel), (e, expansion) in itertools.product(
            enumerate(self.kernels), enumerate(self.expansions)
        ):
            for when in there:
                chosen = ((row, k), (row + 1, e), *when)
                if not all(mask[pair] for pair in chosen):
                    continue
                table.stands(
                    f"k{kernel}e{expansion} to {sizes.widths[0]} stride {sizes.stride} "
                    f"{sizes.activation}{' se' if sizes.excited else ''}",
                    shape, functools.partial(self._block, unit, layer, k, e, norm),
                    (*chosen, *under),
                )  # fmt: skip
        height, width = (-(-size // sizes.stride) for size in shape[:2])
        return height, width, sizes.widths[0]

    @property
    def idle(self) -> np.ndarray:
        """The option that a decision without effect has in canonical form: the last, `int[D]`."""
        return last_options(self.mask)

    @property
    def governors(self) -> tuple[Governor, ...]:
        """The depth of a unit leaves the layers beyond it without effect."""
        layer = np.arange(max(self.depths)).repeat(2)
        depths = np.full(self.num_options, max(self.depths))
        depths[: len(self.depths)] = self.depths
        closed = layer >= depths[:, None]
        return tuple(
            Governor(
                self.depth_row(unit),
                range(self._layer_row(unit, 0), self._layer_row(unit, max(self.depths))), closed,
            )
            for unit in range(len(self.units))
        )  # fmt: skip

    def to_string(self, architecture: np.ndarray) -> str:
        """Returns the layers that are present, as in "224:k7e6-k5e4|k3e3-k3e3-k7e6".

        The image size comes first, if it is chosen, and `|` stands between units.
        """
        architecture = self.check(architecture)
        units: list[list[str]] = [[] for _ in self.units]
        for unit, _, kernel, expansion in self.layers_of(architecture):
            units[unit].append(f"k{self.kernels[kernel]}e{self.expansions[expansion]}")
        size = f"{self.resolutions[architecture[0]]}:" if self.resolutions else ""
        return size + "|".join("-".join(layers) for layers in units)

    def from_string(self, text: str) -> np.ndarray:
        size, _, body = text.rpartition(":")
        units = [unit.split("-") for unit in body.split("|")]
        known = len(units) == len(self.units) and bool(size) == bool(self.resolutions)
        known = known and all(_LAYER.fullmatch(word) for unit in units for word in unit)
        if not known:
            some = self.to_string(self.mask.argmax(-1).astype(np.int32))
            raise UserError(f"{shown(text)} is no network of {self.name}; the form is {some!r}")
        words = self.to_names(self.idle)
        if size:
            words["resolution"] = size
        for number, unit in enumerate(units, 1):
            depths = tuple(map(str, self.depths))
            words[f"unit{number}.depth"] = choose(
                str(len(unit)), depths, f"number of layers of unit {number} in {shown(text)}"
            )
            for layer, word in enumerate(unit, 1):
                kernel, expansion = cast(re.Match, _LAYER.fullmatch(word)).groups()
                words[f"unit{number}.layer{layer}.kernel"] = kernel
                words[f"unit{number}.layer{layer}.expansion"] = expansion
        return self.from_names(words)


class _Skeleton(nnx.Module):
    def __init__(self, space: OFA, norm: Norm, rngs: nnx.Rngs):
        self.stem = space._stem(norm, rngs)
        self.first = space._first(norm, rngs)
        self.head = space._head(norm, rngs)


class _Network(_Skeleton):
    def __init__(self, space: OFA, architecture: np.ndarray, norm: Norm, rngs: nnx.Rngs):
        super().__init__(space, norm, rngs)
        resolutions = space.resolutions
        self.size = resolutions[architecture[0]] if resolutions else None
        layers = space.layers_of(architecture)
        self.layers = nnx.List(space._block(*layer, norm, rngs) for layer in layers)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x if self.size is None else resize(x, self.size, self.size)
        x = self.first(self.stem(x))
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class _Supernet(_Skeleton):
    """All networks in one. Images are resized to each size that they may have.

    Values of different sizes cannot be mixed inside a network, so its outputs at all sizes are.
    """

    def __init__(self, space: OFA, norm: Norm, rngs: nnx.Rngs, rematerialise: bool):
        super().__init__(space, norm, rngs)
        self.depths, self.resolutions = space.depths, space.resolutions
        self.allowed_sizes = tuple(np.flatnonzero(space.mask[0]).tolist())
        self.depth_rows = tuple(map(space.depth_row, range(len(space.units))))
        count = max(space.depths)
        units = []
        for unit, row in enumerate(self.depth_rows):
            allowed = [
                [
                    (int(k), int(e), 0)
                    for k in np.flatnonzero(space.mask[row + 1 + 2 * layer])
                    for e in np.flatnonzero(space.mask[row + 2 + 2 * layer])
                ]
                for layer in range(count)
            ]
            later = sorted(set().union(*allowed[1:]))
            stage = ElasticStage(
                space.layer_sizes(unit, 0), space.layer_sizes(unit, 1), count, norm, rngs,
                allowed=(allowed[0], later or None), rematerialise=rematerialise,
            )  # fmt: skip
            units.append(stage)
        self.units = nnx.List(units)

    def __call__(self, x: jax.Array, gates: Gates) -> jax.Array:
        if not self.resolutions:
            return self._run(x, gates)
        graph, state = nnx.split(self)

        def run(x, state, gates):
            return nnx.merge(graph, state)._run(x, gates)

        weight, index = gates.weight[0], None if gates.index is None else gates.index[0]
        sizes = dict(enumerate(self.resolutions))
        if index is None:
            sizes = {i: sizes[i] for i in self.allowed_sizes}
        return run_resized(run, x, sizes, weight, index, state, gates)

    def _run(self, x, gates):
        x = self.first(self.stem(x))
        for row, unit in zip(self.depth_rows, self.units, strict=True):
            x = unit(x, self._choices(row, gates))
        return self.head(x)

    def _choices(self, row, gates):
        count, depths = max(self.depths), jnp.array(self.depths)
        rows = slice(row + 1, row + 1 + 2 * count)
        kernel, expansion = gates.weight[rows][::2], gates.weight[rows][1::2]
        there = depths[None] > jnp.arange(count)[:, None]
        depth = gates.weight[row, : len(depths)]
        shares = [jnp.where(there == kept, depth, 0).sum(1) for kept in (False, True)]
        present = jnp.stack(shares, axis=1)
        if gates.index is None:
            return Mixture(kernel, expansion, present=present)
        drawn = gates.index[rows].reshape(count, 2)
        taken = there[:, gates.index[row]].astype(jnp.int32)
        layers = jnp.arange(count)
        chosen = kernel[layers, drawn[:, 0]] * expansion[layers, drawn[:, 1]]
        return Drawn(
            jnp.stack([drawn[:, 0], drawn[:, 1], jnp.zeros_like(taken), taken], axis=1),
            jnp.stack([present[:, 0], chosen * present[:, 1]], axis=1),
        )
