"""The macro level of TransNAS-Bench-101: four to six modules, each of which may change the shape.

A module keeps the shape (1), doubles the channels (2), halves the image (3) or does both (4). All
modules together double one to three times and halve one to four times: 3,256 networks, written
as in `64-1234-basic`. Before the modules, the stem halves the image twice.

References: Duan et al., "TransNAS-Bench-101: Improving Transferability and Generalizability of
Cross-Task Neural Architecture Search", CVPR 2021.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Annotated, cast

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le, MultipleOf
from flax import nnx

from hwnas_jax.errors import UserError, shown
from hwnas_jax.nn.classifier import classifier
from hwnas_jax.nn.heads import HeadsPlan
from hwnas_jax.nn.layerwise import run_drawn_block
from hwnas_jax.nn.macro import SharedModule, State, Trellis, run_drawn_path, run_mixed
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.nn.operations import window
from hwnas_jax.nn.outputs import Output
from hwnas_jax.nn.residual import BasicModule
from hwnas_jax.nn.transnas import Stem
from hwnas_jax.nn.variables import copy_first_weights, copy_weights
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Decision, Operation, Place, Space
from hwnas_jax.spaces.core.arguments import extent, image, whole
from hwnas_jax.spaces.core.heads import plan_heads, stand_begun, stand_finished
from hwnas_jax.spaces.core.tabulate import OperationTable, made_once

DIGITS = ("1", "2", "3", "4")
NONE = "none"
_STEPS = ((0, 0), (1, 0), (0, 1), (1, 1), None)


@SPACES.add
class TransNASMacro(Space):
    """TransNAS-Bench-101's macro level at any size."""

    name = "transnas_macro"
    summary = "4-6 modules that keep, widen, halve or both (3,256), TransNAS-Bench-101 macro"
    constrained = True
    takes_outputs = True
    takes_sequences = True

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        outputs: Sequence[Output] = (),
        channels: Annotated[int, Ge(2), Le(4096), MultipleOf(2)] = 64,
        least: Annotated[int, Ge(1), Le(8)] = 4,
        most: Annotated[int, Ge(1), Le(8)] = 6,
        doublings: Annotated[int, Ge(1), Le(6)] = 3,
        halvings: Annotated[int, Ge(1), Le(6)] = 4,
        stem_halvings: Annotated[int, Ge(0), Le(2)] = 2,
    ):
        """Sets the size; by default as published.

        Args:
          input_shape: `(H, W, C)` of one image.
          num_outputs: outputs of the network.
          outputs: what the network puts out; one vector if left out.
          channels: of the stem, an even number.
          least: smallest number of modules.
          most: largest number of modules.
          doublings: largest number of modules that double the channels; at least one does.
          halvings: largest number of modules that halve the image; at least one does.
          stem_halvings: how often the stem halves the image, at most twice.

        Raises:
          UserError: for fewer modules at most than at least, or images too small to halve so often.
        """
        whole("most", most, least, 8)
        height, width, features = image(input_shape)
        if extent(input_shape) < 2 ** (halvings + stem_halvings):
            raise UserError(
                f"images of {height}x{width} cannot be halved {halvings + stem_halvings} times; "
                f"lower space.args.halvings or space.args.stem_halvings"
            )
        self.input_shape, self.num_outputs = (height, width, features), int(num_outputs)
        self.outputs = tuple(outputs)
        self.args = {
            "channels": channels, "least": least, "most": most, "doublings": doublings,
            "halvings": halvings, "stem_halvings": stem_halvings,
        }  # fmt: skip
        self.channels, self.least, self.most = channels, least, most
        self.doublings, self.halvings, self.stem_halvings = doublings, halvings, stem_halvings
        self.trellis = Trellis(_STEPS, doublings, halvings, least, most)
        self.decisions = tuple(
            Decision(f"module{n}", DIGITS if n <= least else (*DIGITS, NONE))
            for n in range(1, most + 1)
        )

    def feasible(self, architectures: np.ndarray) -> np.ndarray:
        rows = np.asarray(architectures)
        none = rows == len(DIGITS)
        gap = (none[:, :-1] & ~none[:, 1:]).any(1)
        doubled = np.isin(rows, (1, 3)).sum(1)
        halved = np.isin(rows, (2, 3)).sum(1)
        fits = (doubled >= 1) & (doubled <= self.doublings)
        return ~gap & fits & (halved >= 1) & (halved <= self.halvings)

    def _member(self, architecture: np.ndarray) -> np.ndarray:
        """Returns the architecture if it is a member; otherwise the error says why it is not."""
        row = super().check(architecture)
        if self.feasible(row[None])[0]:
            return row
        digits = "".join("1234-"[option] for option in row)
        raise UserError(
            f"{digits} is no network of {self.name}: 1 to {self.doublings} modules double the "
            f"channels (digits 2 and 4), here {int(np.isin(row, (1, 3)).sum())}; 1 to "
            f"{self.halvings} halve the image (3 and 4), here {int(np.isin(row, (2, 3)).sum())}; "
            f"and only the last modules may be left out"
        )

    def from_names(self, names: dict[str, str]) -> np.ndarray:
        return self._member(super().from_names(names))

    def to_string(self, architecture: np.ndarray) -> str:
        digits = (DIGITS[option] for option in self.check(architecture) if option < len(DIGITS))
        return f"{self.channels}-{''.join(digits)}-basic"

    def from_string(self, text: str) -> np.ndarray:
        found = re.fullmatch(r"(\d+)-([1-4]+)-basic", text)
        if found is None or found[1] != str(self.channels):
            raise UserError(
                f"{shown(text)} is no {self.name} network of {self.channels} channels; the form is "
                f"'{self.channels}-1234-basic'"
            )
        if not self.least <= len(found[2]) <= self.most:
            raise UserError(
                f"{shown(text)} has {len(found[2])} modules; {self.least} to {self.most} are "
                f"allowed"
            )
        digits = [*found[2], *[NONE] * (self.most - len(found[2]))]
        return self.from_names(
            {decision.name: digit for decision, digit in zip(self.decisions, digits, strict=True)}
        )

    def _shape(self, state: tuple[int, int]) -> tuple[int, int, int]:
        """Returns the shape `(H, W, C)` of a value in a state."""
        factor = 2 ** (self.stem_halvings + state[1])
        height, width = (-(-size // factor) for size in self.input_shape[:2])
        return height, width, self.channels * 2 ** state[0]

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        return _Supernet(self, supernet_norm(axis_name), rngs, rematerialise)

    def _states(self, architecture):
        """Returns the first state, and the state after each module that is present."""
        state, states = (0, 0), [(0, 0)]
        for option in architecture:
            if option < len(DIGITS):
                state = self.trellis.after(state, _STEPS[option])
                states.append(state)
        return states

    def _stem(self, norm: Norm, rngs: nnx.Rngs) -> Stem:
        return Stem(
            self.input_shape[2], self.channels, self.stem_halvings, norm, rngs,
            kernel=window(3, self.input_shape),
        )  # fmt: skip

    def heads(self, last: State) -> HeadsPlan:
        """Returns what the heads read and return: the stem's output, and a value in a last state.

        The halvings between the two stand in other places in every network.
        """
        stages = [self._shape((0, 0)), self._shape(last)]
        return plan_heads(self, stages, self.channels, classifier)

    def _module(self, source, target, norm: Norm, rngs: nnx.Rngs) -> BasicModule:
        features_in, features = (self._shape(state)[2] for state in (source, target))
        stride = 2 if target[1] > source[1] else 1
        kernel = window(3, self.input_shape)
        return BasicModule(features_in, features, norm, rngs, stride=stride, kernel=kernel)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        states = self._states(self._member(architecture))
        return _Network(self, states, network_norm(axis_name), rngs)

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        target, source = cast(_Network, network), cast(_Supernet, supernet)
        copy_weights(target, source, "stem")
        kept = [n for n, option in enumerate(self.check(architecture)) if option < len(DIGITS)]
        for number, module in zip(kept, target.modules, strict=True):
            kernels = source.modules[number]
            first, second = module.first, module.second
            pairs = [
                (first.first.conv, kernels.enter), (first.second.conv, kernels.second),
                (second.first.conv, kernels.third), (second.second.conv, kernels.fourth),
            ]  # fmt: skip
            if first.shortcut is not None:
                pairs.append((first.shortcut.conv, kernels.shortcut))
            for conv, kernel in pairs:
                inputs, outputs = conv.kernel.shape[2:]
                conv.kernel[...] = kernel[...][:, :, :inputs, :outputs]
        copy_first_weights(target.head, source.head)

    @made_once
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table, norm = OperationTable(), network_norm()
        table.stands("stem", self.input_shape, functools.partial(self._stem, norm))
        ways: list[tuple[tuple[tuple[int, int], ...], State]] = [((), (0, 0))]
        for number in range(self.most):
            longer: list[tuple[tuple[tuple[int, int], ...], State]] = []
            for (when, state), (option, step) in itertools.product(
                ways, enumerate(self.trellis.options(number))
            ):
                target = self.trellis.after(state, step)
                longer.append(((*when, (number, option)), target))
                if step is not None:
                    features, stride = self._shape(target)[2], 1 + (target[1] > state[1])
                    table.stands(
                        f"module to {features} stride {stride}", self._shape(state),
                        functools.partial(self._module, state, target, norm), longer[-1][0],
                    )  # fmt: skip
            ways = longer
        for when, state in ways:
            stand_begun(table, self.heads(state), when)
        stand_finished(table, self.heads(ways[0][1]))
        return table.result()


class _Network(nnx.Module):
    def __init__(self, space: TransNASMacro, states, norm: Norm, rngs: nnx.Rngs):
        self.stem = space._stem(norm, rngs)
        self.modules = nnx.List(
            space._module(a, b, norm, rngs) for a, b in itertools.pairwise(states)
        )
        self.head = space.heads(states[-1]).build(norm, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = first = self.stem(x)
        for module in self.modules:
            x = module(x)
        return self.head([first, x])


class _Supernet(nnx.Module):
    def __init__(self, space: TransNASMacro, norm: Norm, rngs: nnx.Rngs, rematerialise: bool):
        self.trellis, self.channels = space.trellis, space.channels
        self.rematerialise = rematerialise
        self.stem = space._stem(norm, rngs)
        widest = [
            space.channels * 2 ** max(state[0] for state in space.trellis.states(number))
            for number in range(space.most + 1)
        ]
        self.modules = nnx.List(
            SharedModule(a, b, norm, rngs, window(3, space.input_shape))
            for a, b in itertools.pairwise(widest)
        )
        last = (max(state[0] for state in space.trellis.states(space.most)), space.halvings)
        self.head = space.heads(last).build(norm, rngs)

    def __call__(self, x: jax.Array, gates: Gates) -> jax.Array:
        x = self.stem(x)
        if gates.index is not None:
            return self._drawn(x, gates)
        run = run_mixed
        if self.rematerialise:
            run = jax.checkpoint(run_mixed, static_argnums=(0, 4))
        values, reached = run(self.trellis, list(self.modules), x, gates.weight, self.channels)
        begun = [
            jax.tree.map(lambda part, s=state: (reached[s] * part).astype(x.dtype), made)
            for state, made in ((state, self.head.begin(value)) for state, value in values.items())
        ]
        total = jax.tree.map(lambda *parts: jnp.stack(parts).sum(0), *begun)
        return self.head.finish([x], total)

    def _drawn(self, x, gates):
        flat, number, layout = run_drawn_path(
            self.trellis, list(self.modules), x, gates.weight, gates.index
        )
        last = self.trellis.states(self.trellis.most)
        graph, weights = nnx.split(self.head)
        begins = tuple(_begin(graph, layout, state) for state in last)
        return self.head.finish([x], run_drawn_block(begins, flat, number, (weights,)))


def _begin(graph, layout, state):
    return lambda flat, weights: nnx.merge(graph, weights).begin(layout.read(flat, state))
