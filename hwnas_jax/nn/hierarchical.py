"""Layers of MnasNet's hierarchy, whose operation, kernel, excitation and widths are independent.

Legend: `B` batch, `C` channels in and `C'` out at their widest, `r` widest excitation.

Independent choices share weights. The two kernel sizes share the products before and after the
depthwise convolution, expansion three is the first half of expansion six, and a narrower layer has
the first channels of the widest. Widths are masks, so a narrow layer costs as much as the widest.
Everything else that is not drawn costs nothing.

References: Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", CVPR 2019;
Wan et al., "FBNetV2: Differentiable Neural Architecture Search for Spatial and Channel Dimensions",
CVPR 2020 (masks).
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.kernels.convolution import avg_pool_3x3, conv2d, matmul
from hwnas_jax.nn.kernels.depthwise import depthwise_conv
from hwnas_jax.nn.layerwise import run_drawn_block
from hwnas_jax.nn.mbconv import ACTIVATIONS, ConvNorm, SqueezeExcite
from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.tally import relu

OPERATIONS = ("conv", "sepconv", "mbconv3", "mbconv6")
KERNELS = (3, 5)
SKIPS = ("pool", "identity", "none")
MOST_EXPANSION = 6

_init = nnx.initializers.he_uniform()


def excited_features(features_in: int) -> int:
    """Returns the width of squeeze-excitation in a layer with this many input channels."""
    return max(1, features_in // 4)


def width_mask(weight: jax.Array, widths: Sequence[int], most: int) -> jax.Array:
    """Returns the share of the weight under which each channel is present, `float32[most]`.

    Args:
      weight: `float32[len(widths)]`, the weight of each width.
      widths: numbers of channels; a width holds the first so many channels.
      most: length of the mask.
    """
    rows = jnp.arange(most)[None] < jnp.asarray(widths)[:, None]
    return (weight[: len(widths), None] * rows).sum(0)


class Choice(NamedTuple):
    """Gates of one layer.

    Attributes:
      operation: `float32[4]`.
      kernel: `float32[2]`.
      excite: `float32[2]`, without and with.
      skip: `float32[3]`; not read in a layer that may change the shape.
      width_in: `float32[n]`, widths of the layer's input.
      width: `float32[m]`, widths of its output.
      present: `float32[2]`, for the layer left out and for the layer present.
      drawn: `int32[5]` or None: the drawn options of the first four and of `present`.
    """

    operation: jax.Array
    kernel: jax.Array
    excite: jax.Array
    skip: jax.Array
    width_in: jax.Array
    width: jax.Array
    present: jax.Array
    drawn: jax.Array | None = None


class Excitation(nnx.Module):
    """Squeeze-excitation whose widths are masks."""

    def __init__(self, features: int, reduced: int, rngs: nnx.Rngs):
        self.reduce = nnx.Linear(features, reduced, rngs=rngs)
        self.expand = nnx.Linear(reduced, features, rngs=rngs)

    def __call__(self, x: jax.Array, hidden_mask: jax.Array) -> jax.Array:
        squeezed = relu(self.reduce(x.mean((1, 2)))) * hidden_mask
        return x * jax.nn.sigmoid(self.expand(squeezed)).astype(x.dtype)[:, None, None]


class HierarchicalLayer(nnx.Module):
    """One layer with all its choices: `([B, H, W, C], Choice) -> [B, H', W', C']`."""

    def __init__(
        self,
        widths_in: Sequence[int],
        widths: Sequence[int],
        norm: Norm,
        rngs: nnx.Rngs,
        *,
        stride: int,
        activation: str,
        repeats: bool,
        allowed: tuple[tuple[int, ...], ...],
    ):
        """Draws the weights.

        Args:
          widths_in: channels that the input may have.
          widths: channels that the output may have.
          norm: factory of normalisations.
          rngs: for the initial weights.
          stride: of the layer.
          activation: a key of `ACTIVATIONS`.
          repeats: whether the layer keeps its shape, so that it can be skipped or left out.
          allowed: the options of operation, kernel and excitation that are not switched off.
        """
        self.widths_in, self.widths = tuple(widths_in), tuple(widths)
        self.stride, self.activation, self.repeats = stride, activation, repeats
        self.allowed = allowed
        inputs, outputs = max(widths_in), max(widths)
        middle, reduced = MOST_EXPANSION * inputs, excited_features(inputs)

        def kernel(size, features_in, features):
            shape = (size, size, features_in, features)
            return nnx.Param(_init(rngs.params(), shape, jnp.float32))

        def depthwise(size, features):
            return nnx.Param(kernel(size, 1, features)[...][:, :, 0])

        self.conv = nnx.List(kernel(size, inputs, outputs) for size in KERNELS)
        self.separate = nnx.List(depthwise(size, inputs) for size in KERNELS)
        self.separate_project = kernel(1, inputs, outputs)
        self.expand = kernel(1, inputs, middle)
        self.depthwise = nnx.List(depthwise(size, middle) for size in KERNELS)
        self.project = kernel(1, middle, outputs)
        self.conv_excite = Excitation(outputs, reduced, rngs)
        self.separate_excite = Excitation(inputs, reduced, rngs)
        self.excite = Excitation(middle, reduced, rngs)
        self.norm = norm(outputs, rngs)

    def __call__(self, x: jax.Array, choice: Choice) -> jax.Array:
        """Runs the layer; with `choice.drawn`, only the drawn options run."""
        masks = self._masks(choice, x.dtype)
        if choice.drawn is None:
            return self._mixed(x, choice, masks)
        combinations = list(itertools.product(*self.allowed))
        if self.repeats:
            combinations = [(*c, skip) for c in combinations for skip in range(len(SKIPS))]
        graph, state = nnx.split(self)
        branches = [_alone(graph, combination) for combination in combinations]
        wanted = choice.drawn[: len(combinations[0])]
        index = jnp.argmax((jnp.array(combinations) == wanted).all(1))
        factor = choice.operation[wanted[0]] * choice.kernel[wanted[1]] * choice.excite[wanted[2]]
        if self.repeats:
            branches.append(lambda x, state, masks, factor: (factor * x).astype(x.dtype))
            there = choice.drawn[-1]
            index = jnp.where(there == 1, index, len(combinations))
            kept = factor * choice.skip[wanted[3]] * choice.present[1]
            factor = jnp.where(there == 1, kept, choice.present[0])
        return run_drawn_block(tuple(branches), x, index, (state, masks, factor))

    def _masks(self, choice, dtype):
        inputs = max(self.widths_in)
        reduced = [excited_features(width) for width in self.widths_in]
        masks = {
            "in": width_mask(choice.width_in, self.widths_in, inputs),
            "out": width_mask(choice.width, self.widths, max(self.widths)),
            "hidden": width_mask(choice.width_in, reduced, max(reduced)),
        }
        for expansion in (3, 6):
            widths = [expansion * width for width in self.widths_in]
            masks[f"middle{expansion}"] = width_mask(
                choice.width_in, widths, MOST_EXPANSION * inputs
            )
        return {name: mask.astype(dtype) for name, mask in masks.items()}

    def _mixed(self, x, choice, masks):
        kernels, excites = self.allowed[1:]

        def over_kernels(values):
            return sum(choice.kernel[k] * value for k, value in zip(kernels, values, strict=True))

        def excited(values, excitation):
            options = (lambda: values, lambda: excitation(values, masks["hidden"]))
            return sum((choice.excite[s] * options[s]()).astype(x.dtype) for s in excites)

        total = 0.0
        middle = None
        for operation in self.allowed[0]:
            name = OPERATIONS[operation]
            if name == "conv":
                values = over_kernels([self._convolved(x, k) for k in kernels])
                values = excited(masks["out"] * values, self.conv_excite)
            elif name == "sepconv":
                values = over_kernels([self._separated(x, k) for k in kernels])
                values = excited(masks["in"] * values, self.separate_excite)
                values = self._product(values, self.separate_project)
            else:
                if middle is None:
                    wide = self._finish(self._times(x, self.expand))
                    middle = over_kernels([self._deep(wide, k) for k in kernels])
                values = excited(masks[f"middle{name[-1]}"] * middle, self.excite)
                values = self._product(values, self.project)
            total = total + choice.operation[operation] * values
        total = (masks["out"] * total).astype(x.dtype)
        if not self.repeats:
            return total
        pool, identity = choice.skip[0], choice.skip[1]
        total = total + pool * avg_pool_3x3(x) + identity * x
        return (choice.present[1] * total + choice.present[0] * x).astype(x.dtype)

    def run_alone(self, x, masks, operation: int, kernel: int, excite: int, skip: int | None):
        """Runs one combination of choices."""
        name = OPERATIONS[operation]
        if name == "conv":
            values = masks["out"] * self._convolved(x, kernel)
            values = self.conv_excite(values, masks["hidden"]) if excite else values
        elif name == "sepconv":
            values = masks["in"] * self._separated(x, kernel)
            values = self.separate_excite(values, masks["hidden"]) if excite else values
            values = self._product(values, self.separate_project)
        else:
            middle = int(name[-1]) * max(self.widths_in)
            wide = self._finish(self._times(x, self.expand, middle))
            values = masks[f"middle{name[-1]}"][:middle] * self._deep(wide, kernel)
            if excite:
                spare = MOST_EXPANSION * max(self.widths_in) - middle
                padded = jnp.pad(values, ((0, 0), (0, 0), (0, 0), (0, spare)))
                values = self.excite(padded, masks["hidden"])[..., :middle]
            values = self._product(values, self.project)
        values = masks["out"] * values
        match skip:
            case None | 2:
                return values
            case 1:
                return values + x
            case _:
                return values + avg_pool_3x3(x)

    def give(self, target: nnx.Module, operation: str, kernel: int, excite: int) -> None:
        """Copies the weights of one combination of choices into a stand-alone layer.

        Args:
          target: a `ConvLayer` if the operation is "conv", an `MBConv` otherwise.
          operation: one of `OPERATIONS`.
          kernel: the option of `KERNELS`.
          excite: 1 if the layer has excitation, else 0.
        """
        own = nnx.to_pure_dict(nnx.state(self, nnx.Param))
        if operation == "conv":
            weights = {"conv": {"kernel": own["conv"][kernel]}}
            excitation = own["conv_excite"]
        elif operation == "sepconv":
            weights = {
                "depthwise": {"kernel": own["separate"][kernel]},
                "project": {"kernel": own["separate_project"]},
            }
            excitation = own["separate_excite"]
        else:
            weights = {
                "expand": {"kernel": own["expand"]},
                "depthwise": {"kernel": own["depthwise"][kernel]},
                "project": {"kernel": own["project"]},
            }
            excitation = own["excite"]
        give_leading({**weights, **({"excite": excitation} if excite else {})}, target)

    def _finish(self, values):
        return ACTIVATIONS[self.activation](self.norm(values))

    def _times(self, x, kernel, features=None):
        return matmul(x, kernel[...][0, 0, : x.shape[-1], :features].astype(x.dtype))

    def _product(self, x, kernel):
        return self.norm(self._times(x, kernel))

    def _convolved(self, x, kernel):
        own = self.conv[kernel][...].astype(x.dtype)
        return self._finish(conv2d(x, own, stride=self.stride))

    def _separated(self, x, kernel):
        own = self.separate[kernel][...].astype(x.dtype)
        return self._finish(depthwise_conv(x, own, stride=self.stride))

    def _deep(self, x, kernel):
        own = self.depthwise[kernel][..., : x.shape[-1]].astype(x.dtype)
        return self._finish(depthwise_conv(x, own, stride=self.stride))


class ConvLayer(nnx.Module):
    """Convolution, normalisation, activation, and excitation if its width is not zero."""

    def __init__(self, features_in, features, kernel, reduced, norm, rngs, *, stride, activation):
        self.conv = ConvNorm(
            features_in, features, kernel, norm, rngs, stride=stride, activation=activation
        )
        self.excite = SqueezeExcite(features, reduced, rngs) if reduced else None

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv(x)
        return x if self.excite is None else self.excite(x)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        total = self.conv.macs(input_shape)
        return total + (0 if self.excite is None else self.excite.macs(input_shape))


class Skipped(nnx.Module):
    """A layer and what its skip adds: one of `SKIPS`."""

    def __init__(self, inner, skip: str):
        self.inner, self.skip = inner, skip

    def __call__(self, x):
        beside = {"none": lambda: 0.0, "identity": lambda: x, "pool": lambda: avg_pool_3x3(x)}
        return self.inner(x) + beside[self.skip]()


def give_leading(weights: Mapping[str, Any], target: Any) -> None:
    """Copies the leading part of each weight into the parameter of the same name in `target`.

    Args:
      weights: arrays, nested as the parameters of `target` are.
      target: a module whose parameters may be smaller.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        *inner, last = [key.key for key in path]
        module = functools.reduce(getattr, inner, target)
        parameter = getattr(module, last)
        parameter[...] = leaf[tuple(slice(size) for size in parameter.shape)]


def _alone(graph, combination):
    operation, kernel, excite, *skip = combination

    def run(x, state, masks, factor):
        layer = nnx.merge(graph, state)
        values = layer.run_alone(x, masks, operation, kernel, excite, skip[0] if skip else None)
        return (factor * values).astype(x.dtype)

    return run
