"""Modules of a supernet that choose its channels and resolution.

Legend: `B` batch, `S` states. A state is `(d, s)`: how often the channels were doubled and the
image halved so far. A value in this state has the shape `[B, H / 2^s, W / 2^s, C 2^d]`.

The options of a module lead to different states, whose values cannot be added. When all options
run, every state holds two things: the mean of the values that lead there, weighted by the
probability of each way, and the probability that the state is reached. The network's output is the
mean over the last states. When one path is drawn, only that path runs.

The kernels are those of the widest state, and other states use their first channels. Since
normalisation without parameters is per channel, such a slice acts like a kernel of its own.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.kernels.convolution import conv2d
from hwnas_jax.nn.layerwise import run_drawn_block
from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.operations import Window, both
from hwnas_jax.nn.tally import relu

State = tuple[int, int]

_init = nnx.initializers.he_uniform()
# The weight in a state's mean of ways that are not taken. It is not zero, so that a state which
# nothing reaches still has a value.
_TRACE = 1e-8


@dataclasses.dataclass(frozen=True)
class Trellis:
    """The states that the modules lead through.

    Attributes:
      steps: for each option, how much it doubles and halves; None leaves the module out.
      doublings: largest number of doublings; further ones have no effect.
      halvings: largest number of halvings; further ones have no effect.
      least: number of modules that cannot be left out.
      most: number of modules.
    """

    steps: tuple[State | None, ...]
    doublings: int
    halvings: int
    least: int
    most: int

    def options(self, module: int) -> tuple[State | None, ...]:
        """Returns the steps that a module may take."""
        return tuple(s for s in self.steps if s is not None or module >= self.least)

    def after(self, state: State, step: State | None) -> State:
        """Returns the state that a step leads to."""
        if step is None:
            return state
        doubled, halved = state[0] + step[0], state[1] + step[1]
        return min(doubled, self.doublings), min(halved, self.halvings)

    def states(self, module: int) -> list[State]:
        """Returns the possible states before a module."""
        reached = {(0, 0)}
        for _ in range(module):
            reached = {self.after(state, step) for state in reached for step in self.steps}
        return sorted(reached)

    def ways(self, module: int) -> list[tuple[State, State]]:
        """Returns the pairs of states between which a module may lead."""
        return sorted(
            {(state, self.after(state, step)) for state in self.states(module)
             for step in self.options(module) if step is not None}
        )  # fmt: skip


class SharedModule(nnx.Module):
    """The weights of one module for all ways through it: two residual blocks."""

    def __init__(
        self, features_in: int, features_out: int, norm: Norm, rngs: nnx.Rngs, window: Window = 3
    ):
        def kernel(size, inputs):
            shape = (*both(size), inputs, features_out)
            return nnx.Param(_init(rngs.params(), shape, jnp.float32))

        self.enter, self.shortcut = kernel(window, features_in), kernel(1, features_in)
        self.second, self.third, self.fourth = (kernel(window, features_out) for _ in range(3))
        self.norm = norm(features_out, rngs)

    def begin(self, x: jax.Array, features: int, stride: int) -> tuple[jax.Array, jax.Array]:
        """Returns the output of the first convolution, and the shortcut beside it."""
        inner = self.norm(self._convolve(relu(x), self.enter, features, stride))
        if stride == 1 and features == x.shape[-1]:
            return inner, x
        return inner, self.norm(self._convolve(x, self.shortcut, features, stride))

    def finish(self, inner: jax.Array, beside: jax.Array) -> jax.Array:
        """Returns the module's output."""
        x = beside + self._activated(inner, self.second)
        return x + self._activated(self._activated(x, self.third), self.fourth)

    def _activated(self, x, kernel):
        return self.norm(self._convolve(relu(x), kernel, x.shape[-1], 1))

    def _convolve(self, x, kernel, features, stride):
        own = kernel[...][:, :, : x.shape[-1], :features].astype(x.dtype)
        return conv2d(x, own, stride=stride)


def run_mixed(trellis: Trellis, modules, x: jax.Array, weight: jax.Array, features: int):
    """Runs all ways and returns the value and the probability of each last state.

    Args:
      trellis: the states.
      modules: a `SharedModule` each.
      x: `[B, H, W, C]`.
      weight: `float32[D, K]`.
      features: `C`.
    """
    weight = weight.astype(jnp.float32)
    values, reached = {(0, 0): x}, {(0, 0): jnp.ones((), jnp.float32)}
    for number, module in enumerate(modules):
        arriving: dict[State, list] = {}
        passing: dict[State, jax.Array] = {}
        for state, value in values.items():
            begun: dict[State, tuple[jax.Array, jax.Array]] = {}
            for option, step in enumerate(trellis.options(number)):
                share = reached[state] * weight[number, option]
                target = trellis.after(state, step)
                if step is None:
                    passing[state] = share
                    continue
                if target not in begun:
                    stride = 2 if target[1] > state[1] else 1
                    begun[target] = module.begin(value, features * 2 ** target[0], stride)
                arriving.setdefault(target, []).append((share, *begun[target]))
        settled = {}
        for state, ways in arriving.items():
            shares = jnp.stack([share for share, *_ in ways])
            inner, beside = (_mean(shares, [way[i] for way in ways]) for i in (1, 2))
            settled[state] = (shares.sum(), module.finish(inner, beside))
        before, values, reached = values, {}, {}
        for state in sorted({*settled, *passing}):
            ways = [settled[state]] if state in settled else []
            if state in passing:
                ways.append((passing[state], before[state]))
            shares = jnp.stack([share for share, _ in ways])
            values[state] = _mean(shares, [value for _, value in ways])
            reached[state] = shares.sum()
    return values, reached


def _mean(shares, values):
    if len(values) == 1:
        return values[0]
    weights = (shares + _TRACE) / (shares + _TRACE).sum()
    return sum((w * v).astype(v.dtype) for w, v in zip(weights, values, strict=True))


@dataclasses.dataclass(frozen=True)
class Layout:
    """Writes values of different states as arrays of one shape: flat, and filled up with zeros.

    Attributes:
      batch: `B`.
      height: of a value in the state `(0, 0)`.
      width: of a value in the state `(0, 0)`.
      features: channels of a value in the state `(0, 0)`.
    """

    batch: int
    height: int
    width: int
    features: int

    def shape(self, state: State) -> tuple[int, int, int, int]:
        """Returns `(B, H, W, C)` of a state's values."""
        height, width = (-(-size // 2 ** state[1]) for size in (self.height, self.width))
        return self.batch, height, width, self.features * 2 ** state[0]

    def room(self, states: Sequence[State]) -> int:
        """Returns how many numbers one image needs in the largest of `states`."""
        return max(math.prod(self.shape(state)[1:]) for state in states)

    def read(self, flat: jax.Array, state: State) -> jax.Array:
        """Returns the value of a state, `[B, H, W, C]`."""
        return flat[:, : self.room([state])].reshape(self.shape(state))

    def write(self, value: jax.Array, room: int) -> jax.Array:
        """Returns a value as `[B, room]`."""
        flat = value.reshape(self.batch, -1)
        return jnp.pad(flat, ((0, 0), (0, room - flat.shape[1])))


def run_drawn_path(
    trellis: Trellis, modules, x: jax.Array, weight: jax.Array, index: jax.Array
) -> tuple[jax.Array, jax.Array, Layout]:
    """Runs only the drawn way.

    Args:
      trellis: the states.
      modules: a `SharedModule` each.
      x: `[B, H, W, C]`.
      weight: `float32[D, K]`.
      index: `int32[D]`.

    Returns:
      The last value as a flat array; the number of its state in `trellis.states`; the layout.
    """
    layout = Layout(*x.shape)
    flat, number = x.reshape(layout.batch, -1), jnp.zeros((), jnp.int32)
    for place, module in enumerate(modules):
        after, ways = trellis.states(place + 1), trellis.ways(place)
        room = layout.room(after)
        graph, state = nnx.split(module)
        starts = [_start(graph, layout, way, room) for way in ways]
        ends = [_end(graph, layout, target, room) for target in after]
        if None in trellis.options(place):
            starts.append(_nothing(layout, room))
            ends.append(_passed(layout, room))
        start, end, following = (
            jnp.array(table)[number, index[place]] for table in _tables(trellis, place)
        )
        begun = run_drawn_block(tuple(starts), flat, start, (state,))
        factor = weight[place, index[place]]
        flat = run_drawn_block(tuple(ends), (*begun, flat), end, (state, factor))
        number = following
    return flat, number, layout


def _tables(trellis, place):
    """Returns three tables by state and option: starting branch, ending branch, next state."""
    ways, after = trellis.ways(place), trellis.states(place + 1)
    starts, ends, following = [], [], []
    for source in trellis.states(place):
        targets = [(step, trellis.after(source, step)) for step in trellis.options(place)]
        left_out = len(ways), len(after)
        starts.append([left_out[0] if s is None else ways.index((source, t)) for s, t in targets])
        ends.append([left_out[1] if s is None else after.index(t) for s, t in targets])
        following.append([after.index(target) for _, target in targets])
    return starts, ends, following


def _start(graph, layout, way, room):
    source, target = way
    stride = 2 if target[1] > source[1] else 1

    def run(flat, state):
        value, features = layout.read(flat, source), layout.shape(target)[3]
        begun = nnx.merge(graph, state).begin(value, features, stride)
        return tuple(layout.write(part, room) for part in begun)

    return run


def _end(graph, layout, target, room):
    def run(parts, state, factor):
        inner, beside = (layout.read(part, target) for part in parts[:2])
        value = nnx.merge(graph, state).finish(inner, beside)
        return layout.write((factor * value).astype(value.dtype), room)

    return run


def _nothing(layout, room):
    def run(flat, state):
        del state
        return (jnp.zeros((layout.batch, room), flat.dtype),) * 2

    return run


def _passed(layout, room):
    def run(parts, state, factor):
        del state
        return layout.write((factor * parts[2]).astype(parts[2].dtype), room)

    return run
