"""Elimination: options are dropped one after another, until every decision has one left.

Legend: `D` decisions, `K` options of the widest decision, `L` options that the widest decision has
left.
"""

import dataclasses
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le

from hwnas_jax.search.strategies.base import STRATEGIES, Ahead, Strategy, Told
from hwnas_jax.search.strategies.repair import ROUNDING, best_within_budget


class Evidence(NamedTuple):
    """The options that are left, and what was told of them.

    Attributes:
      key: of all draws.
      alive: `bool[D, K]`, the options that are left.
      stage: `int32[]`, eliminations made.
      place: `int32[]`, architectures told since the last one.
      scores: `float32[D, K]`, scores told of each option; older ones count less than one.
      mean: `float32[D, K]`, of these scores.
      squares: `float32[D, K]`, the sum of their squared distances from the mean.
      held: `int32[D]`, an architecture of options that are left; it keeps the budget where
        `holds`.
      holds: `bool[]`, whether such an architecture has been seen.
    """

    key: jax.Array
    alive: jax.Array
    stage: jax.Array
    place: jax.Array
    scores: jax.Array
    mean: jax.Array
    squares: jax.Array
    held: jax.Array
    holds: jax.Array


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class Elimination(Strategy):
    """Samples all options that are left equally often, and drops the worst of every decision.

    Between two eliminations the options of a decision are gone through in random order, again and
    again, until each option of the widest decisions was seen `samples` times. Options of a narrower
    decision are seen as often as one another, up to one time. An architecture over the budget is
    changed in as few decisions as bring it within, so that options which cost much may be seen less
    often.

    Then comes the architecture that promises most by the scores: the best option of every decision,
    with as few changes as the budget asks for. It shows how far the search is, and its options are
    not dropped. So whatever is dropped, an architecture within the budget is left, provided one
    was found. After as many eliminations as the widest decision has options less one, a single
    architecture is left, and it is asked for from then on.

    An elimination goes by all scores since the first round. Those from before the last elimination
    count less and less, as their architectures still had options that were dropped since: with a
    memory of a half they count half, those from before the last but one a quarter.

    The upper confidence bound of an option is its mean score plus `s * sqrt(2 ln N / n)`, where `n`
    scores were told of the option, `N` of all options of the decision, and `s` is the deviation of
    all these. This is the usual bound for scores of that deviation; the form in the paper was not
    read. Options that were seen equally often are in the order of their means. With a bound, one
    of which fewer scores are known than of the others stays longer. Scores of what could not be
    judged do not count, and an option without any score is dropped first.

    References: Chen et al., "Binarized Neural Architecture Search" (BNAS), AAAI 2020, and "BNAS:
    Binarized Neural Architecture Search for Efficient Object Recognition", IJCV 2021, which adds
    a bound; Auer et al., "Finite-time Analysis of the Multiarmed Bandit Problem", Machine Learning
    2002 (the bound).
    """

    name = "elimination"
    summary = "samples all options equally often, drops the worst of every decision (BNAS)"
    each = 1

    samples: Annotated[int, Ge(1)] = 6
    """how often each option of the widest decisions is seen before an elimination"""
    bound: Annotated[float, Ge(0)] = 0.25
    """how much of the width of the upper confidence bound is added to the mean score of an option;
    one is the usual bound, zero goes by the mean alone"""
    memory: Annotated[float, Ge(0), Le(1)] = 0.5
    """by what share older scores count after each elimination; zero forgets them"""
    drop: Literal["worst", "random"] = "worst"
    """what is dropped; random ignores all scores, to compare with"""
    fidelities: Annotated[int, Ge(1), Le(2)] = 1
    """with two, only the architecture that is left is evaluated at the highest fidelity"""

    def phases(self, mask: np.ndarray) -> tuple[int, ...]:
        """Returns the first round, and those after each elimination."""
        widest = int(mask.sum(axis=1).max())
        lengths = [self.samples * left + 1 for left in range(widest, 1, -1)]
        return (0, *np.cumsum(lengths, dtype=int).tolist())

    def alive(self, state: Evidence) -> jax.Array:
        """Returns the options that are left."""
        return state.alive

    def init(self, key: jax.Array, mask: jax.Array) -> Evidence:
        """Returns the state in which all options are left."""
        zero, none = jnp.zeros((), jnp.int32), jnp.zeros(mask.shape, jnp.float32)
        held = jnp.argmax(mask, axis=1).astype(jnp.int32)
        return Evidence(key, mask, zero, zero, none, none, none, held, jnp.zeros((), bool))

    def ask(self, state: Evidence, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns `int32[1, D]`: the next draw, the most promising, or the one that is left.

        The draws between two eliminations belong together, so they take the key in the state.
        """
        is_drawn = state.place < self._draws(state)
        near = jax.nn.one_hot(self._drawn(state), state.alive.shape[1])
        near += 0.5 * jax.random.uniform(key, near.shape)
        values = jnp.where(is_drawn, near, self._values(state))
        best, excess = best_within_budget(values, state.alive, ahead)
        return jnp.where((excess > 0) & state.holds, state.held, best)[None]

    def fidelity(self, state: Evidence) -> jax.Array:
        """Returns the lower fidelity until one architecture is left."""
        is_over = state.alive.sum(axis=1).max() == 1
        return jnp.where(is_over, 0, self.fidelities - 1).astype(jnp.int32)

    def tell(self, state: Evidence, architectures: jax.Array, told: Told) -> Evidence:
        """Returns the state with one more score, or with an option less of every decision."""
        row, excess = architectures[0], told.excess[0]
        counts = jnp.isfinite(excess) & jnp.isfinite(told.score[0])
        fits = counts & (excess <= ROUNDING)
        state = state._replace(
            held=jnp.where(fits, row, state.held), holds=state.holds | fits, place=state.place + 1
        )
        is_drawn = state.place <= self._draws(state)
        seen = jax.nn.one_hot(row, state.alive.shape[1]) * (counts & is_drawn)
        count = state.scores + seen
        score = jnp.where(counts, told.score[0], 0.0)
        step = seen * (score - state.mean)
        mean = state.mean + step / jnp.where(count > 0, count, 1.0)
        squares = state.squares + step * (score - mean)
        after = state._replace(scores=count, mean=mean, squares=squares)
        less = self._less(state._replace(held=row, holds=fits), row)
        return jax.tree.map(lambda one, other: jnp.where(is_drawn, one, other), after, less)

    def _less(self, state: Evidence, kept: jax.Array) -> Evidence:
        """Returns the state after an elimination that leaves the options of `kept`, `int32[D]`."""
        own = jax.nn.one_hot(kept, state.alive.shape[1], dtype=bool)
        values = jnp.where(state.alive & ~own, self._values(state), jnp.inf)
        worst = jax.nn.one_hot(values.argmin(axis=1), state.alive.shape[1], dtype=bool)
        alive = state.alive & ~(worst & (state.alive.sum(axis=1, keepdims=True) > 1))
        return state._replace(
            alive=alive, stage=state.stage + 1, place=jnp.zeros_like(state.place),
            scores=jnp.where(alive, self.memory * state.scores, 0.0),
            squares=jnp.where(alive, self.memory * state.squares, 0.0),
        )  # fmt: skip

    def _draws(self, state: Evidence) -> jax.Array:
        """Returns how many architectures are drawn before the next elimination; 0 at the end."""
        left = state.alive.sum(axis=1).max()
        return jnp.where(left > 1, self.samples * left, 0)

    def _drawn(self, state: Evidence) -> jax.Array:
        """Returns the architecture of this place before the budget is looked at, `int32[D]`."""
        decisions, options = state.alive.shape
        widths = state.alive.sum(axis=1)
        key = jax.random.fold_in(state.key, state.stage)

        def order(decision, turn):
            own = jax.random.fold_in(jax.random.fold_in(key, decision), turn)
            return jax.random.uniform(own, (options,))

        noise = jax.vmap(order)(jnp.arange(decisions), state.place // widths)
        orders = jnp.argsort(jnp.where(state.alive, noise, 2.0), axis=1)
        turn = (state.place % widths)[:, None]
        return jnp.take_along_axis(orders, turn, axis=1)[:, 0].astype(jnp.int32)

    def _values(self, state: Evidence) -> jax.Array:
        """Returns what options are compared by, `float32[D, K]`."""
        if self.drop == "random":
            key = jax.random.fold_in(state.key, state.stage)
            return jax.random.uniform(jax.random.fold_in(key, len(state.alive)), state.alive.shape)
        return bounds_of(state, self.bound)


def bounds_of(state: Evidence, factor: float) -> jax.Array:
    """Returns what options are judged by, `float32[D, K]`; minus infinity for one without a score.

    It is the mean score and a share of the width of its upper confidence bound.

    Args:
      state: what was told.
      factor: the share; one makes it the bound.
    """
    count, mean = state.scores, state.mean
    known = jnp.where(count > 0, count, 1.0)
    total = jnp.maximum(count.sum(axis=1, keepdims=True), 1.0)
    middle = (count * mean).sum(axis=1, keepdims=True) / total
    between = (state.squares + count * (mean - middle) ** 2).sum(axis=1, keepdims=True)
    width = jnp.sqrt(2.0 * jnp.log(total) / known * between / total)
    return jnp.where(count > 0, mean + factor * width, -jnp.inf)
