"""MnasNet's factorised hierarchy: six decisions for each block of layers.

A block decides on its operation, kernel, excitation, skip, width and depth. The layers of a block
are alike. The first may change the shape, and the others add what the skip says: the input, its 3x3
average, or nothing. Widths and depths are multiples of those of MnasNet-A1.

References: Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", CVPR 2019.
"""

import functools
import itertools
from typing import Annotated, cast

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le
from flax import nnx

from hwnas_jax.errors import UserError, choose, shown
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.hierarchical import (
    KERNELS,
    OPERATIONS,
    SKIPS,
    Choice,
    ConvLayer,
    HierarchicalLayer,
    Skipped,
    excited_features,
    give_leading,
)
from hwnas_jax.nn.layerwise import stacked
from hwnas_jax.nn.mbconv import ACTIVATIONS, ConvHead, ConvNorm, MBConv, round_channels
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.nn.variables import copy_weights
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Decision, Operation, Place, Space
from hwnas_jax.spaces.core.arguments import Halvings, Head, Width, halve, image
from hwnas_jax.spaces.core.mixture import Governed, Governor, last_options
from hwnas_jax.spaces.core.tabulate import OperationTable, made_once

_BASE = ((16, 1, 1), (24, 2, 2), (40, 3, 2), (80, 4, 2), (112, 2, 1), (160, 3, 2), (320, 1, 1))
_STEM, _HEAD = 32, 1280
_FILTERS = ("0.75", "1.0", "1.25")
_EXCITE = ("0", "0.25")
_DEPTHS = ("-1", "0", "+1")
PER_BLOCK = ("op", "kernel", "se", "skip", "filters", "layers")


@SPACES.add
class MnasNet(Governed, Space):
    """MnasNet's space at any size."""

    name = "mnasnet"
    summary = "7 blocks of 6 decisions each, MnasNet; blocks, width, halvings, head, activation"

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        blocks: Annotated[int, Ge(1), Le(len(_BASE))] = len(_BASE),
        width: Width = 1.0,
        depth: Annotated[int, Ge(1), Le(4)] = 4,
        halvings: Halvings = 5,
        head: Head = _HEAD,
        activation: str = "relu",
    ):
        """Sets the size; by default as published.

        Args:
          input_shape: `(H, W, C)` of one image.
          num_outputs: outputs of the network.
          blocks: how many of the seven blocks there are, counted from the first.
          width: factor on all channels, which are then rounded to multiples of four.
          depth: largest number of layers of a block, before the choice of one less or more.
          halvings: how often the image is halved; if the strides halve it more often, the first of
            them become one.
          head: channels of the last convolution, before `width`.
          activation: a key of `hwnas_jax.nn.mbconv.ACTIVATIONS`.

        Raises:
          UserError: for an unknown activation, or images too small to halve so often.
        """
        choose(activation, ACTIVATIONS, "activation")
        self.input_shape, self.num_outputs = image(input_shape), int(num_outputs)
        every = [2, *(stride for _, _, stride in _BASE[:blocks])]
        self.strides = halve(every, halvings, self.input_shape[:2])
        self.width, self.head, self.activation = width, head, activation
        self.args = {
            "blocks": blocks, "width": float(width), "depth": depth, "halvings": halvings,
            "head": head, "activation": activation,
        }  # fmt: skip
        self.depths = [min(layers, depth) for _, layers, _ in _BASE[:blocks]]
        self.decisions = tuple(
            Decision(f"block{n + 1}.{what}", options)
            for n in range(blocks)
            for what, options in zip(PER_BLOCK, self._options(n), strict=True)
        )

    def _options(self, block):
        kernels = tuple(str(size) for size in KERNELS)
        depths = tuple(d for d in _DEPTHS if self.depths[block] + int(d) >= 1)
        return OPERATIONS, kernels, _EXCITE, SKIPS, _FILTERS, depths

    def _channels(self, features: float) -> int:
        return round_channels(features * self.width, 4)

    def widths(self, block: int) -> tuple[int, ...]:
        """Returns the channels that a block may have; block -1 is the stem."""
        if block < 0:
            return (self._channels(_STEM),)
        return tuple(self._channels(_BASE[block][0] * float(factor)) for factor in _FILTERS)

    def counts(self, block: int) -> list[int]:
        """Returns the number of layers of a block for each option of its depth."""
        return [self.depths[block] + int(d) for d in self._options(block)[-1]]

    def _side(self, block: int) -> tuple[int, int]:
        """Returns the size of the image before a block."""
        factor = 2 ** self.strides[: block + 1].count(2)
        return -(-self.input_shape[0] // factor), -(-self.input_shape[1] // factor)

    def _stem(self, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        return ConvNorm(
            self.input_shape[2], self._channels(_STEM), 3, norm, rngs, stride=self.strides[0],
            activation=self.activation,
        )  # fmt: skip

    def _head(self, features: int, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        return ConvHead(
            features, self._channels(self.head), self.num_outputs, norm, rngs,
            activation=self.activation,
        )  # fmt: skip

    def _layer(
        self, op: str, kernel: str, se: str, features_in: int, features: int, stride: int,
        norm: Norm, rngs: nnx.Rngs,
    ) -> nnx.Module:  # fmt: skip
        """Builds a layer without its skip."""
        reduced = excited_features(features_in) if se != "0" else 0
        if op == "conv":
            return ConvLayer(
                features_in, features, int(kernel), reduced, norm, rngs, stride=stride,
                activation=self.activation,
            )  # fmt: skip
        return MBConv(
            features_in, features, norm, rngs, kernel=int(kernel), stride=stride,
            expansion=1 if op == "sepconv" else int(op[-1]), activation=self.activation,
            se_features=reduced, residual=False,
        )  # fmt: skip

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        return _Supernet(self, supernet_norm(axis_name), rngs, rematerialise)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        names = list(self.to_names(architecture).values())
        norm = network_norm(axis_name)
        layers, features = [], self.widths(-1)[0]
        for block in range(len(self.depths)):
            op, kernel, se, skip, filters, layer_change = names[6 * block : 6 * block + 6]
            wanted = self.widths(block)[_FILTERS.index(filters)]
            for number in range(self.depths[block] + int(layer_change)):
                stride = self.strides[block + 1] if number == 0 else 1
                inner = self._layer(op, kernel, se, features, wanted, stride, norm, rngs)
                layers.append(Skipped(inner, skip if number else "none"))
                features = wanted
        return _Network(self, layers, features, norm, rngs)

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        architecture = self.check(architecture)
        target, source = cast(_Network, network), cast(_Supernet, supernet)
        copy_weights(target, source, "stem")
        give_leading(nnx.to_pure_dict(nnx.state(source.head, nnx.Param)), target.head)
        layers = iter(target.layers)
        for block, (first, rest) in enumerate(zip(source.first, source.rest, strict=True)):
            op, kernel, se, _, _, depth = architecture[6 * block : 6 * block + 6]
            for number in range(self.counts(block)[depth]):
                layer = first if number == 0 else _one_of(rest, number - 1)
                layer.give(next(layers).inner, OPERATIONS[op], int(kernel), int(se))

    @made_once
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table, norm, mask = OperationTable(), network_norm(), self.mask

        def stands(label, shape, build, *when):
            if all(mask[decision, option] for decision, option in when):
                table.stands(label, shape, build, when)

        stands("stem", self.input_shape, functools.partial(self._stem, norm))
        for block in range(len(self.depths)):
            row, stride = 6 * block, self.strides[block + 1]
            before, after = self._side(block), self._side(block + 1)
            later = [
                (features, (row + 4, width), (row + 5, depth))
                for width, features in enumerate(self.widths(block))
                for depth, count in enumerate(self.counts(block))
                for _ in range(1, count)
            ]
            choices = itertools.product(
                enumerate(OPERATIONS), enumerate(KERNELS), enumerate(_EXCITE)
            )
            for (a, op), (b, kernel), (c, se) in choices:
                of = ((row, a), (row + 1, b), (row + 2, c))
                name = f"{op} kernel {kernel} se {se}"
                layer = functools.partial(self._layer, op, str(kernel), se)
                for i, features in enumerate(self.widths(block)):
                    for j, features_in in enumerate(self.widths(block - 1)):
                        stands(
                            f"{name} to {features} stride {stride}", (*before, features_in),
                            functools.partial(layer, features_in, features, stride, norm),
                            *of, (row + 4, i), *(((row - 2, j),) if block else ()),
                        )  # fmt: skip
                for features, *when in later:
                    stands(
                        f"{name} to {features} stride 1", (*after, features),
                        functools.partial(layer, features, features, 1, norm), *of, *when,
                    )  # fmt: skip
            pools = (row + 3, SKIPS.index("pool"))
            for features, *when in later:
                stands("pool", (*after, features), _pool, pools, *when)
        last = len(self.depths) - 1
        for i, features in enumerate(self.widths(last)):
            stands(
                "head", (*self._side(last + 1), features),
                functools.partial(self._head, features, norm), (6 * last + 4, i),
            )  # fmt: skip
        return table.result()

    @property
    def idle(self) -> np.ndarray:
        """The option that a skip without effect has in canonical form: the last, `int[D]`."""
        return last_options(self.mask)

    @property
    def governors(self) -> tuple[Governor, ...]:
        """A block of a single layer leaves its skip without effect."""
        found = []
        for block in range(len(self.depths)):
            alone = np.zeros((self.num_options, 1), bool)
            counts = self.counts(block)
            alone[: len(counts), 0] = np.array(counts) == 1
            found.append(Governor(6 * block + 5, (6 * block + 3,), alone))
        return tuple(found)

    def to_string(self, architecture: np.ndarray) -> str:
        names = list(self.to_names(architecture).values())
        return "|".join("_".join(names[i : i + 6]) for i in range(0, len(names), 6))

    def from_string(self, text: str) -> np.ndarray:
        blocks = [word.split("_") for word in text.split("|")]
        if len(blocks) != len(self.depths) or any(len(block) != 6 for block in blocks):
            raise UserError(
                f"{shown(text)} is no network of {self.name}: {len(self.depths)} blocks joined "
                f"by '|' are wanted, each of {'_'.join(PER_BLOCK)}, as in "
                f"'mbconv6_3_0.25_identity_1.0_0'"
            )
        words = itertools.chain.from_iterable(blocks)
        names = (decision.name for decision in self.decisions)
        return self.from_names(dict(zip(names, words, strict=True)))


def _pool(rngs):
    del rngs
    return ops.AvgPool3x3()


class _Network(nnx.Module):
    def __init__(self, space: MnasNet, layers, features: int, norm: Norm, rngs: nnx.Rngs):
        self.stem = space._stem(norm, rngs)
        self.layers = nnx.List(layers)
        self.head = space._head(features, norm, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class _Supernet(nnx.Module):
    def __init__(self, space: MnasNet, norm: Norm, rngs: nnx.Rngs, rematerialise: bool):
        self.counts = tuple(tuple(space.counts(b)) for b in range(len(space.depths)))
        self.rematerialise = rematerialise
        self.stem = space._stem(norm, rngs)
        first, rest = [], []
        for block, counts in enumerate(self.counts):
            allowed = tuple(
                tuple(np.flatnonzero(row).tolist()) for row in space.mask[6 * block :][:3]
            )
            widths = space.widths(block)
            layer = functools.partial(
                HierarchicalLayer, widths=widths, norm=norm, activation=space.activation,
                allowed=allowed,
            )  # fmt: skip
            stride = space.strides[block + 1]
            first.append(layer(space.widths(block - 1), rngs=rngs, stride=stride, repeats=False))

            def later(rngs, layer=layer, widths=widths):
                return layer(widths, rngs=rngs, stride=1, repeats=True)

            rest.append(stacked(later, max(counts) - 1, rngs))
        self.first, self.rest = nnx.List(first), nnx.List(rest)
        self.head = space._head(max(space.widths(len(self.counts) - 1)), norm, rngs)

    def __call__(self, x: jax.Array, gates: Gates) -> jax.Array:
        x = self.stem(x)
        weight, index = gates.weight, gates.index
        width_in = jnp.ones(1, weight.dtype)
        for block, (first, rest) in enumerate(zip(self.first, self.rest, strict=True)):
            own = weight[6 * block : 6 * block + 6]
            op, kernel, excite, skip, width, depth = own
            common = (op[:4], kernel[:2], excite[:2], skip[:3])
            drawn = None if index is None else index[6 * block : 6 * block + 6]
            always = jnp.array([0.0, 1.0], weight.dtype)

            def taken(present, drawn=drawn):
                return None if drawn is None else jnp.append(drawn[:4], present)

            x = self._run(first)(x, Choice(*common, width_in, width, always, taken(1)))
            counts = jnp.array(self.counts[block])
            numbers = jnp.arange(2, max(self.counts[block]) + 1)
            there = counts[None] >= numbers[:, None]
            shares = jnp.stack(
                [
                    jnp.where(there == kept, depth[: len(counts)], 0).sum(1)
                    for kept in (False, True)
                ],
                axis=1,
            )
            present = None if drawn is None else there[:, drawn[5]].astype(jnp.int32)
            graph, state = nnx.split(rest)

            def layer(x, of, graph=graph, common=common, width=width, taken=taken):
                state, share, present = of
                choice = Choice(*common, width, width, share, taken(present))
                return self._run(nnx.merge(graph, state))(x, choice), None

            if len(numbers):
                x = jax.lax.scan(layer, x, (state, shares, present))[0]
            width_in = width
        return self.head(x)

    def _run(self, layer):
        return jax.checkpoint(layer.__call__) if self.rematerialise else layer


def _one_of(layers: nnx.Module, number: int) -> HierarchicalLayer:
    """Returns one of several stacked layers."""
    graph, state = nnx.split(layers)
    layer = nnx.merge(graph, jax.tree.map(lambda leaf: leaf[number], state))
    return cast(HierarchicalLayer, layer)
