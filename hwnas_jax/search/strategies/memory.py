"""What a search that learns remembers of the architectures it was told of.

Legend: `M` places of the memory, `n` architectures, `D` decisions, `K` options, `F` features.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from hwnas_jax.search.strategies.base import Told, fitness


class Memory(NamedTuple):
    """The architectures told last.

    Attributes:
      mask: `bool[D, K]`, true where an option exists.
      architectures: `int32[M, D]`; the one told as number `i` stands in row `i` modulo `M`.
      told: what was told of each, leaves `float32[M]`.
      seen: `int32[]`, architectures told so far.
    """

    mask: jax.Array
    architectures: jax.Array
    told: Told
    seen: jax.Array

    @property
    def filled(self) -> jax.Array:
        """Which rows hold an architecture, `bool[M]`."""
        return jnp.arange(len(self.architectures)) < self.seen

    @property
    def known(self) -> jax.Array:
        """Which rows hold one that has a score, `bool[M]`: no member of the space has none."""
        return self.filled & jnp.isfinite(self.told.score) & jnp.isfinite(self.told.excess)


def empty_memory(mask: jax.Array, places: int) -> Memory:
    """Returns a memory of `places` rows that holds nothing."""
    nothing = jnp.zeros(places, jnp.float32)
    return Memory(
        mask=mask,
        architectures=jnp.zeros((places, len(mask)), jnp.int32),
        told=Told(nothing, nothing, nothing),
        seen=jnp.zeros((), jnp.int32),
    )


def remembered(memory: Memory, architectures: jax.Array, told: Told) -> Memory:
    """Returns the memory with new architectures (`int32[n, D]`) in the places of the oldest."""
    count, size = len(architectures), len(memory.architectures)
    places = (memory.seen + jnp.arange(count)) % size
    return memory._replace(
        architectures=memory.architectures.at[places].set(architectures),
        told=jax.tree.map(lambda every, new: every.at[places].set(new), memory.told, told),
        seen=memory.seen + count,
    )


def fittest(memory: Memory, count: int) -> jax.Array:
    """Returns the rows of the fittest architectures, `int32[count]`, the best first.

    While fewer are known the best stands in for those that are missing.
    """
    rank = jnp.where(memory.known, fitness(memory.told), -jnp.inf)
    rows = jax.lax.top_k(rank, min(count, len(rank)))[1]
    rows = jnp.where(memory.known[rows], rows, rows[0])
    return rows[jnp.arange(count) % len(rows)]


def normal_scores(values: jax.Array, known: jax.Array) -> jax.Array:
    """Returns the normal quantile of the rank of each known value, `float32[N]`; zero elsewhere.

    Equal values share their mean rank.

    References: Blom, "Statistical Estimates and Transformed Beta-Variables", 1958.

    >>> known = jnp.array([True, True, False, True])
    >>> (100 * normal_scores(jnp.array([0.1, 0.9, 5.0, 0.2]), known)).round().tolist()
    [-87.0, 87.0, 0.0, 0.0]
    """
    below = ((values < values[:, None]) & known).sum(axis=1)
    equal = ((values == values[:, None]) & known).sum(axis=1)
    place = below + (equal + 1) / 2
    share = (place - 0.375) / (jnp.maximum(known.sum(), 1) + 0.25)
    return jnp.where(known, jax.scipy.special.ndtri(jnp.clip(share, 1e-6, 1 - 1e-6)), 0.0)


def targets_of(state: Memory, kind: str) -> tuple[jax.Array, jax.Array]:
    """Returns what a predictor learns of the remembered architectures, and the best so far.

    Args:
      state: what is remembered.
      kind: "scores", or "ranks" for the normal quantiles of their ranks.

    Returns:
      `float32[M]`, and `float32[]`: the highest within the budget, or the lowest of all while none
      keeps it, so that the best mean is as good as the best improvement.
    """
    score = jnp.where(state.known, state.told.score, 0.0)
    targets = normal_scores(score, state.known) if kind == "ranks" else score
    inside = state.known & (state.told.excess <= 0)
    best = jnp.where(inside, targets, -jnp.inf).max()
    lowest = jnp.where(state.known, targets, jnp.inf).min()
    lowest = jnp.where(jnp.isfinite(lowest), lowest, 0.0)
    return targets, jnp.where(inside.any(), best, lowest)


def most_promising(
    value: jax.Array,
    excess: jax.Array,
    features: jax.Array,
    asked: jax.Array,
    filled: jax.Array,
    count: int,
) -> jax.Array:
    """Returns which candidates to ask for, `int32[count]`: the best that were not asked for before.

    Candidates with equal features count as one, which is asked for once. What is over the budget
    comes after all that keeps it, the nearest to it first; then come candidates that were asked for
    before, and last what is no member of the space. While all have been taken, the first is taken
    again.

    Args:
      value: `float32[n]`, how promising each candidate is.
      excess: `float32[n]`, how far over the budget; zero or less keeps it.
      features: `float32[n, F]`.
      asked: `float32[M, F]`, the features of what was asked for.
      filled: `bool[M]`, which rows of `asked` there are.
      count: how many to take.
    """
    before = ((features[:, None] == asked).all(axis=-1) & filled).any(axis=1)
    value = jnp.clip(jnp.nan_to_num(value, nan=-1e5), -1e5, 1e5)
    value = jnp.where(excess > 0, -1e6 * (1.0 + jnp.minimum(excess, 1e5)), value)
    value = jnp.where(before, -1e13, value)
    value = jnp.where(jnp.isfinite(excess), value, -1e14)

    def take(value, _):
        row = jnp.argmax(value)
        same = (features == features[row]).all(axis=1)
        return jnp.where(same, -jnp.inf, value), row

    return jax.lax.scan(take, value, None, length=count)[1]
