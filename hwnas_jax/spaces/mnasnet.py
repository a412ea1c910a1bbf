"""MnasNet's factorised hierarchy: per block an operation, a kernel, excitation, skip, width, depth.

The layers of a block are alike. The first may change the shape; what a skip adds (the input, or its
3x3 average) is added in the others. The widths and depths to scale are those of MnasNet-A1.

References: Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", CVPR 2019.
"""

import functools
import itertools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.errors import UserError, choose
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.hierarchical import (
    KERNELS,
    OPERATIONS,
    SKIPS,
    Choice,
    HierarchicalLayer,
    excited_features,
)
from hwnas_jax.nn.layerwise import stacked
from hwnas_jax.nn.mbconv import (
    ACTIVATIONS,
    ConvHead,
    ConvNorm,
    MBConv,
    SqueezeExcite,
    round_channels,
)
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Decision, Operation, Place, Space
from hwnas_jax.spaces.core.mixture import Governed, Governor, last_options
from hwnas_jax.spaces.core.tabulate import OperationTable

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
        blocks: int = 7,
        width: float = 1.0,
        depth: int = 4,
        halvings: int = 5,
        head: int = _HEAD,
        activation: str = "relu",
    ):
        """Sets the size; by default as published.

        Args:
          input_shape: `(H, W, C)` of one image.
          num_outputs: number of classes.
          blocks: how many of the seven blocks, from the first.
          width: factor on all channels, which are then multiples of four.
          depth: most layers of a block before the choice of one less or more.
          halvings: how often the image is halved; the first strides become one where there are
            more of them.
          head: channels of the last convolution, before `width`.
          activation: a key of `hwnas_jax.nn.mbconv.ACTIVATIONS`.

        Raises:
          UserError: for arguments out of range, or images too small to halve so often.
        """
        ranges = {"blocks": (blocks, 1, 7), "depth": (depth, 1, 4), "head": (head, 1, 16_384)}
        for key, (value, low, high) in {**ranges, "halvings": (halvings, 0, 5)}.items():
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise UserError(
                    f"space.args.{key} must be a whole number from {low} to {high}, got {value!r}"
                )
        if not isinstance(width, int | float) or not 0 < width <= 8:
            raise UserError(f"space.args.width must be above 0 and at most 8, got {width!r}")
        choose(activation, ACTIVATIONS, "activation")
        height, image_width, features = (int(size) for size in input_shape)
        strides = [2, *(stride for _, _, stride in _BASE[:blocks])]
        surplus = max(0, strides.count(2) - halvings)
        for number, stride in enumerate(strides):
            if stride == 2 and surplus:
                strides[number], surplus = 1, surplus - 1
        if min(height, image_width) < 2 ** strides.count(2):
            raise UserError(
                f"images of {height}x{image_width} cannot be halved {strides.count(2)} times; "
                f"lower space.args.halvings"
            )
        self.input_shape, self.num_outputs = (height, image_width, features), int(num_outputs)
        self.width, self.head, self.activation, self.strides = width, head, activation, strides
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
        """Returns the channels that a block may have; of the stem for block -1."""
        if block < 0:
            return (self._channels(_STEM),)
        return tuple(self._channels(_BASE[block][0] * float(factor)) for factor in _FILTERS)

    def counts(self, block: int) -> list[int]:
        """Returns how many layers a block may have, by option."""
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
        """Builds a layer less its skip."""
        reduced = excited_features(features_in) if se != "0" else 0
        if op == "conv":
            return _ConvLayer(
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
                layers.append(_Skipped(inner, skip if number else "none"))
                features = wanted
        return _Network(self, layers, features, norm, rngs)

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        architecture = self.check(architecture)
        target, source = cast(_Network, network), cast(_Supernet, supernet)
        nnx.update(target.stem, nnx.state(source.stem, nnx.Param))
        _slice(target.head, nnx.state(source.head, nnx.Param))
        layers = iter(target.layers)
        for block, (first, rest) in enumerate(zip(source.first, source.rest, strict=True)):
            op, kernel, se, _, _, depth = architecture[6 * block : 6 * block + 6]
            for number in range(self.counts(block)[depth]):
                state = nnx.state(first if number == 0 else rest, nnx.Param)
                if number:
                    state = jax.tree.map(lambda leaf, n=number: leaf[n - 1], state)
                _slice(next(layers).inner, _own_weights(state, OPERATIONS[op], int(kernel), se))

    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table, norm = OperationTable(), network_norm()

        def stands(label, shape, build, *when):
            if all(self.mask[decision, option] for decision, option in when):
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
        """What the skip of a block of one layer is set to, `int[D]`: the last option there is."""
        return last_options(self.mask)

    @property
    def governors(self) -> tuple[Governor, ...]:
        """Within a block of a single layer nothing is skipped."""
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
                f"{text!r} is no network of {self.name}: {len(self.depths)} blocks joined by '|' "
                f"are wanted, each of {'_'.join(PER_BLOCK)}, as in 'mbconv6_3_0.25_identity_1.0_0'"
            )
        words = itertools.chain.from_iterable(blocks)
        names = (decision.name for decision in self.decisions)
        return self.from_names(dict(zip(names, words, strict=True)))


def _pool(rngs):
    del rngs
    return ops.AvgPool3x3()


class _ConvLayer(nnx.Module):
    """Convolution, normalisation, activation, excitation if asked."""

    def __init__(self, features_in, features, kernel, reduced, norm, rngs, *, stride, activation):
        self.conv = ConvNorm(
            features_in, features, kernel, norm, rngs, stride=stride, activation=activation
        )
        self.excite = SqueezeExcite(features, reduced, rngs) if reduced else None

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv(x)
        return x if self.excite is None else self.excite(x)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        total = self.conv.macs(input_shape)
        return total + (0 if self.excite is None else self.excite.macs(input_shape))


class _Skipped(nnx.Module):
    def __init__(self, inner, skip: str):
        self.inner, self.skip = inner, skip

    def __call__(self, x):
        beside = {"none": lambda: 0.0, "identity": lambda: x, "pool": lambda: ops.AvgPool3x3()(x)}
        return self.inner(x) + beside[self.skip]()


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


def _own_weights(state, op: str, kernel: int, se) -> dict[str, Any]:
    """Returns what a layer of the supernet has for one of its operations, as the network has it."""
    state = nnx.to_pure_dict(state)
    if op == "conv":
        own = {"conv": {"kernel": state["conv"][kernel]}}
        excite = "conv_excite"
    elif op == "sepconv":
        own = {
            "depthwise": {"kernel": state["separate"][kernel]},
            "project": {"kernel": state["separate_project"]},
        }
        excite = "separate_excite"
    else:
        own = {
            "expand": {"kernel": state["expand"]},
            "depthwise": {"kernel": state["depthwise"][kernel]},
            "project": {"kernel": state["project"]},
        }
        excite = "excite"
    return {**own, "excite": state[excite]} if se else own


def _slice(target: nnx.Module, weights) -> None:
    """Copies the first channels of each of `weights` into `target`."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(weights)
                                                          if isinstance(weights, nnx.State)
                                                          else weights):  # fmt: skip
        module = target
        *inner, last = [key.key for key in path]
        for name in inner:
            module = getattr(module, name)
        parameter = getattr(module, last)
        parameter[...] = leaf[tuple(slice(size) for size in parameter.shape)]
