"""Single-Path NAS: superkernels of 5x5 and expansion 6 that hold every smaller block.

Each layer decides on its kernel and on its expansion. The smaller kernel is the middle 3x3 of the
larger, and the smaller expansion is the first half of the larger. Expansion 0 leaves a layer out,
if the layer keeps its shape. All options of a layer share one weight, and each of its convolutions
runs once, mixed or not.

References: Stamoulis et al., "Single-Path NAS: Designing Hardware-Efficient ConvNets in less than
4 Hours", ECML 2019.
"""

from typing import Annotated, Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le
from flax import nnx

from hwnas_jax.nn.elastic import Drawn, ElasticStage, LayerSizes, Mixture
from hwnas_jax.nn.normalisation import Norm, supernet_norm
from hwnas_jax.nn.variables import copy_weights
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Decision, Operation, Place, Space
from hwnas_jax.spaces.core.arguments import Halvings, Head, Repeats, Width
from hwnas_jax.spaces.core.layers import Inverted, Layer, Skip, Stage
from hwnas_jax.spaces.core.layerwise import Layerwise
from hwnas_jax.spaces.core.mixture import Governed, Governor, last_options
from hwnas_jax.spaces.core.tabulate import made_once
from hwnas_jax.spaces.proxylessnas import ProxylessNAS

KERNELS, EXPANSIONS = (3, 5), (3, 6)
_LEFT_OUT = len(EXPANSIONS)
_STAGES = len(ProxylessNAS.stages)


class _Backbone(Layerwise):
    """The same networks with one decision per layer: this builds, counts and writes them."""

    name = "single_path"
    stem_features, first_features = ProxylessNAS.stem_features, ProxylessNAS.first_features
    stages: ClassVar[tuple[Stage, ...]] = ProxylessNAS.stages
    blocks: ClassVar[dict[str, Inverted | Skip]] = {
        **{f"{k}x{k}-{e}": Inverted(k, e) for k in KERNELS for e in EXPANSIONS},
        "skip": Skip(everywhere=False),
    }
    separator = "/"

    def __init__(self, *, stages: int, **sizes: Any):
        self.stages = ProxylessNAS.stages[:stages]  # type: ignore[assignment, misc]
        super().__init__(**sizes)


@SPACES.add
class SinglePath(Governed, Space):
    """Single-Path NAS's space at any width."""

    name = "single_path"
    summary = (
        "kernel and expansion of 21 layers on shared weights, Single-Path NAS; "
        "width, stages, depth, halvings, head, activation, thresholds"
    )

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        width: Width = 1.0,
        stages: Annotated[int, Ge(1), Le(_STAGES)] = _STAGES,
        depth: Repeats | None = None,
        halvings: Halvings | None = None,
        head: Head | None = None,
        activation: str | None = None,
        thresholds: bool = False,
    ):
        """Sets the size; by default as published.

        Args:
          input_shape: `(H, W, C)` of one image.
          num_outputs: outputs of the network.
          width: factor on all channels, which are then rounded to multiples of eight.
          stages: how many of the six stages there are, counted from the first.
          depth: largest number of layers of a stage.
          halvings: how often the image is halved; if the strides halve it more often, the first of
            them become one.
          head: channels of the last convolution, before `width`.
          activation: a key of `hwnas_jax.nn.mbconv.ACTIVATIONS`.
          thresholds: decide as the paper does: an option is chosen if the norm of the weights that
            it adds exceeds a learned threshold; see `scores`.

        Raises:
          UserError: for arguments out of range, and images too small to halve so often.
        """
        self.backbone = _Backbone(
            stages=stages, width=width, depth=depth, halvings=halvings, head=head,
            activation=activation, input_shape=input_shape, num_outputs=num_outputs,
        )  # fmt: skip
        self.input_shape, self.num_outputs = self.backbone.input_shape, self.backbone.num_outputs
        chosen = ("width", "depth", "halvings", "head", "activation")
        self.args = {key: self.backbone.args[key] for key in chosen}
        self.args |= {"stages": stages, "thresholds": thresholds}
        kernels = tuple(map(str, KERNELS))
        self.decisions = tuple(
            Decision(f"layer{number}.{what}", options)
            for number, layer in enumerate(self.backbone.every, 1)
            for what, options in (("kernel", kernels), ("expansion", _expansions(layer)))
        )

    def _blocks(self, architecture: np.ndarray) -> np.ndarray:
        """Returns the backbone's options for an architecture, one for each layer."""
        kernel, expansion = np.asarray(architecture, np.int32).reshape(-1, 2).T
        there = kernel * len(EXPANSIONS) + expansion
        return np.where(expansion == _LEFT_OUT, len(KERNELS) * len(EXPANSIONS), there)

    def _conditions(self, layer: int, block: int) -> tuple[tuple[int, int], ...]:
        kernel, expansion = divmod(block, len(EXPANSIONS))
        return (2 * layer, kernel), (2 * layer + 1, expansion)

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        return _Supernet(self, supernet_norm(axis_name), rngs, rematerialise)

    def scores(self, supernet: nnx.Module) -> jax.Array | None:
        """Returns squared norms of the weights that each option has and smaller options lack.

        The norms are those of the depthwise convolution, per channel. The rim around the middle 3x3
        speaks for kernel 5, the first half of the channels for expansion 3, and both halves for
        expansion 6. Between two options, a softmax of norms minus thresholds is the sigmoid that
        the paper uses as the gradient of its indicator.
        """
        if not self.args["thresholds"]:
            return None
        source, found = cast(_Supernet, supernet), []
        for stage in source.body:
            for number in range(stage.count):
                found.append(_norms(stage.layer(number).depthwise[...], self.num_options))
        return jnp.concatenate(found)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        blocks = self._blocks(self.check(architecture))
        return self.backbone.network(blocks, rngs, axis_name=axis_name)

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        target, source = cast(Any, network), cast(_Supernet, supernet)
        copy_weights(target, source, "stem", "first", "head")
        options = iter(self.check(architecture).reshape(-1, 2).tolist())
        blocks = iter(target.body)
        for stage in source.body:
            for number in range(stage.count):
                (kernel, expansion), block = next(options), next(blocks)
                if expansion != _LEFT_OUT:
                    stage.layer(number).give(block, kernel, expansion)

    @made_once
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        operations, places = self.backbone.operations()
        return operations, tuple(
            Place(place.operation, place.count,
                  tuple(pair for when in place.when for pair in self._conditions(*when)))
            for place in places
        )  # fmt: skip

    @property
    def idle(self) -> np.ndarray:
        """The option that the kernel of a layer that is left out has in canonical form, `int[D]`.

        It is the last option there is.
        """
        return last_options(self.mask)

    @property
    def governors(self) -> tuple[Governor, ...]:
        closed = np.arange(self.num_options)[:, None] == _LEFT_OUT
        return tuple(Governor(row + 1, (row,), closed) for row in range(0, self.num_decisions, 2))

    def to_string(self, architecture: np.ndarray) -> str:
        """Returns the layers, as in "5x5-6/3x3-3/skip"."""
        return self.backbone.to_string(self._blocks(self.check(architecture)))

    def from_string(self, text: str) -> np.ndarray:
        blocks = self.backbone.from_string(text)
        there = blocks < len(KERNELS) * len(EXPANSIONS)
        kernel = np.where(there, blocks // len(EXPANSIONS), 0)
        expansion = np.where(there, blocks % len(EXPANSIONS), _LEFT_OUT)
        form = self.canonical(np.stack([kernel, expansion], axis=1).reshape(1, -1))[0]
        return self.from_names(self.to_names(form))


def _expansions(layer: Layer) -> tuple[str, ...]:
    sizes = tuple(map(str, EXPANSIONS))
    return (*sizes, "0") if layer.keeps_shape else sizes


class _Supernet(nnx.Module):
    """Superkernels. A layer that is half left out returns half its output and half its input.

    The wider half of a layer's channels is masked by the gate of expansion 6. The first half is not
    masked: the normalisation behind it would undo a factor on all channels.
    """

    def __init__(self, space: SinglePath, norm: Norm, rngs: nnx.Rngs, rematerialise: bool):
        backbone, position = space.backbone, 0
        self.stem, self.first = backbone._stem(norm, rngs), backbone._first(norm, rngs)
        stages = []
        for run in backbone.runs():
            allowed = [
                [
                    (int(k), int(e), 0)
                    for k in np.flatnonzero(space.mask[2 * row])
                    for e in np.flatnonzero(space.mask[2 * row + 1][:_LEFT_OUT])
                ]
                for row in range(position, position + len(run))
            ]
            later = sorted(set().union(*allowed[1:]))
            rest = _sizes(run[1], backbone.activation) if len(run) > 1 else None
            stage = ElasticStage(
                _sizes(run[0], backbone.activation), rest, len(run), norm, rngs,
                allowed=(allowed[0] or None, later or None), rematerialise=rematerialise,
            )  # fmt: skip
            stages.append(stage)
            position += len(run)
        self.body = nnx.List(stages)
        self.head = backbone.heads().build(norm, rngs)

    def __call__(self, x: jax.Array, gates: Gates) -> jax.Array:
        x, start = self.first(self.stem(x)), 0
        for stage in self.body:
            rows = slice(2 * start, 2 * (start + stage.count))
            x = stage(x, _choices(gates.weight[rows], gates.index, rows))
            start += stage.count
        return self.head([x])


def _norms(kernel, num_options):
    """Returns the scores of a layer's two decisions, `float32[2, K]`."""
    square = (kernel**2).mean(-1)
    rim = square.sum() - square[1:-1, 1:-1].sum()
    half = kernel.shape[-1] * EXPANSIONS[0] // EXPANSIONS[1]
    first, second = (
        (part**2).sum((0, 1)).mean() for part in (kernel[..., :half], kernel[..., half:])
    )
    rows = jnp.stack([jnp.stack([0 * rim, rim]), jnp.stack([first, first + second])])
    return jnp.pad(rows, ((0, 0), (0, num_options - rows.shape[1])))


def _sizes(layer: Layer, activation: str) -> LayerSizes:
    inputs = layer.shape[2]
    return LayerSizes(
        inputs=(inputs,) * len(EXPANSIONS), middles=tuple(e * inputs for e in EXPANSIONS),
        widths=(layer.features,), kernels=KERNELS, stride=layer.stride,
        residual=layer.keeps_shape, optional=layer.keeps_shape, activation=activation,
    )  # fmt: skip


def _choices(weight, index, rows):
    kernel, expansion = weight[::2, : len(KERNELS)], weight[1::2, : _LEFT_OUT + 1]
    absent = expansion[:, _LEFT_OUT]
    if index is None:
        wide = expansion[:, 1]
        middle = jnp.stack([1 - wide, wide], axis=1)
        present = jnp.stack([absent, expansion[:, :_LEFT_OUT].sum(1)], axis=1)
        return Mixture(kernel, middle, present=present)
    drawn = index[rows].reshape(-1, 2)
    layers = jnp.arange(len(drawn))
    there = (drawn[:, 1] != _LEFT_OUT).astype(jnp.int32)
    share = kernel[layers, drawn[:, 0]] * expansion[layers, drawn[:, 1]]
    return Drawn(
        jnp.stack([drawn[:, 0], drawn[:, 1], jnp.zeros_like(there), there], axis=1),
        jnp.stack([absent, share], axis=1),
    )
