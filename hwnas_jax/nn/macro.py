"""Modules of a supernet that choose its channels and resolution.

Legend: `B` batch, `S` states. A state is `(d, s)`: how often the channels were doubled and the
image halved so far; a value has `[B, H / 2^s, W / 2^s, C 2^d]`.

The options of a module lead to different states, so values cannot simply be mixed. With all options
running, every state holds the mean of what leads there, weighted by the probability of each way,
and the probability that the state is reached; what the network answers is the mean over the last
states. With one path drawn, only that path runs. Kernels are those of the widest state, of which
the others use the first channels; normalisation without parameters is per channel, so nothing else
distinguishes a slice from a kernel of its own.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.nn.convolution import conv2d
from hwnas_jax.nn.layerwise import run_drawn_block
from hwnas_jax.nn.normalisation import Norm

State = tuple[int, int]

_init = nnx.initializers.he_normal()
# Ways that are not taken count this little in a state's mean, so that a state which nothing
# reaches still has a value to compare with.
_TRACE = 1e-8


@dataclasses.dataclass(frozen=True)
class Trellis:
    """Which states the modules lead through.

    Attributes:
      steps: by option, by how much it doubles and halves; None where it leaves the module out.
      doublings: most doublings; further ones have no effect.
      halvings: most halvings; further ones have no effect.
      least: modules that cannot be left out.
      most: all modules.
    """

    steps: tuple[State | None, ...]
    doublings: int
    halvings: int
    least: int
    most: int

    def options(self, module: int) -> tuple[State | None, ...]:
        """Returns the steps a module may take."""
        return tuple(s for s in self.steps if s is not None or module >= self.least)

    def after(self, state: State, step: State | None) -> State:
        """Returns the state that a step leads to."""
        if step is None:
            return state
        doubled, halved = state[0] + step[0], state[1] + step[1]
        return min(doubled, self.doublings), min(halved, self.halvings)

    def states(self, module: int) -> list[State]:
        """Returns the states that may be there before a module."""
        reached = {(0, 0)}
        for _ in range(module):
            reached = {self.after(state, step) for state in reached for step in self.steps}
        return sorted(reached)

    def ways(self, module: int) -> list[tuple[State, State]]:
        """Returns the pairs of states that a module may lead from and to."""
        return sorted(
            {(state, self.after(state, step)) for state in self.states(module)
             for step in self.options(module) if step is not None}
        )  # fmt: skip


class SharedModule(nnx.Module):
    """The weights of one module for all ways through it: two residual blocks."""

    def __init__(self, features_in: int, features_out: int, norm: Norm, rngs: nnx.Rngs):
        def kernel(size, inputs):
            shape = (size, size, inputs, features_out)
            return nnx.Param(_init(rngs.params(), shape, jnp.float32))

        self.enter, self.shortcut = kernel(3, features_in), kernel(1, features_in)
        self.second, self.third, self.fourth = (kernel(3, features_out) for _ in range(3))
        self.norm = norm(features_out, rngs)

    def begin(self, x: jax.Array, features: int, stride: int) -> tuple[jax.Array, jax.Array]:
        """Returns what the first convolution gives, and what stands beside it."""
        inner = self.norm(self._convolve(jax.nn.relu(x), self.enter, features, stride))
        if stride == 1 and features == x.shape[-1]:
            return inner, x
        return inner, self.norm(self._convolve(x, self.shortcut, features, stride))

    def finish(self, inner: jax.Array, beside: jax.Array) -> jax.Array:
        """Returns the module's output."""
        x = beside + self._activated(inner, self.second)
        return x + self._activated(self._activated(x, self.third), self.fourth)

    def _activated(self, x, kernel):
        return self.norm(self._convolve(jax.nn.relu(x), kernel, x.shape[-1], 1))

    def _convolve(self, x, kernel, features, stride):
        own = kernel[...][:, :, : x.shape[-1], :features].astype(x.dtype)
        return conv2d(x, own, stride=stride)


def run_mixed(trellis: Trellis, modules, x: jax.Array, weight: jax.Array, features: int):
    """Runs all ways: `[B, H, W, C]` and `float32[D, K]` to values and probabilities by state."""
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


def run_drawn_path(trellis: Trellis, modules, x, weight, index, features: int):
    """Runs the drawn way alone.

    A value of a state that is only known as the program runs travels flat, with room for the
    largest state.

    Args:
      trellis: the states.
      modules: `SharedModule` each.
      x: `[B, H, W, C]`.
      weight: `float32[D, K]`.
      index: `int32[D]`.
      features: `C`.

    Returns:
      The flat value, the number of its state among the last `Trellis.states`, and a function
      `(flat value, state) -> [B, H', W', C']`.
    """
    batch, height, width, _ = x.shape

    def shape(state):
        side = tuple(-(-size // 2 ** state[1]) for size in (height, width))
        return (*side, features * 2 ** state[0])

    def size(state):
        h, w, c = shape(state)
        return h * w * c

    def flatten(value, room):
        flat = value.reshape(batch, -1)
        return jnp.pad(flat, ((0, 0), (0, room - flat.shape[1])))

    def value_of(flat, state):
        return flat[:, : size(state)].reshape(batch, *shape(state))

    flat, number = x.reshape(batch, -1), jnp.zeros((), jnp.int32)
    for place, module in enumerate(modules):
        before, after = trellis.states(place), trellis.states(place + 1)
        ways, options = trellis.ways(place), trellis.options(place)
        graph, state = nnx.split(module)
        room = max(size(target) for target in after)
        way_of = [[-1 if step is None else ways.index((source, trellis.after(source, step)))
                   for step in options] for source in before]  # fmt: skip
        next_of = [[after.index(trellis.after(source, step)) for step in options]
                   for source in before]  # fmt: skip
        drawn = index[place]
        way = jnp.array(way_of)[number, drawn]
        following = jnp.array(next_of)[number, drawn]

        def begin(flat, state, way, graph=graph, room=room):
            source, target = way
            stride = 2 if target[1] > source[1] else 1
            begun = nnx.merge(graph, state).begin(
                value_of(flat, source), features * 2 ** target[0], stride
            )
            return tuple(flatten(part, room) for part in begun)

        def end(parts, state, factor, target, graph=graph, room=room):
            inner, beside, _ = parts
            value = nnx.merge(graph, state).finish(value_of(inner, target), value_of(beside, target))
            return flatten((factor * value).astype(value.dtype), room)

        starts = [lambda flat, state, way=pair, begin=begin: begin(flat, state, way)
                  for pair in ways]  # fmt: skip
        ends = [lambda parts, state, factor, target=target, end=end: end(
            parts, state, factor, target) for target in after]  # fmt: skip
        if None in options:
            # Left out: what the first switch gives is not read.
            starts.append(lambda flat, state, room=room: (jnp.zeros((batch, room), flat.dtype),) * 2)
            ends.append(
                lambda parts, state, factor, room=room: (
                    factor * jnp.pad(parts[2], ((0, 0), (0, room - parts[2].shape[1])))
                ).astype(parts[2].dtype)
            )
        left_out = way < 0
        begun = run_drawn_block(tuple(starts), flat, jnp.where(left_out, len(ways), way), (state,))
        flat = run_drawn_block(
            tuple(ends), (*begun, flat), jnp.where(left_out, len(after), following),
            (state, weight[place, drawn]),
        )  # fmt: skip
        number = following
    return flat, number, value_of
