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
from hwnas_jax.search.strategies.repair import best_within_budget


class Evidence(NamedTuple):
    """The options that are left, and what was told of them since the last elimination.

    Attributes:
      key: of all draws.
      alive: `bool[D, K]`, the options that are left.
      stage: `int32[]`, eliminations made.
      place: `int32[]`, architectures told since the last one.
      count: `float32[D, K]`, scores told of each option.
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
    count: jax.Array
    mean: jax.Array
    squares: jax.Array
    held: jax.Array
    holds: jax.Array


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class Elimination(Strategy):
    """Samples all options that are left equally often, and drops the worst of every decision.

    Between two eliminations the options of a decision are gone through in random order, again and
    again, until each option of the widest decisions was seen `samples` times. An option of a
    narrower decision is seen as often as the others of that decision, up to one time. Then comes
    the architecture that promises most by the scores: the option with the highest bound in every
    decision, with as few changes as the budget asks for. It shows how far the search is, and its
    options are not dropped. So whatever is dropped, an architecture within the budget is left,
    provided one was found. After as many eliminations as the widest decision has options less one,
    a single architecture is left, which is asked for from then on.

    A bound is the mean score of an option plus `s * sqrt(2 ln N / n)`, where `n` scores were told
    of the option and `N` of all options of the decision. This is the usual upper confidence bound.
    The form in the paper was not read. The usual bound is for scores with a deviation of at most
    one; `s` is the deviation of the option's own scores, with one more score that deviates as all
    scores of the decision do. So an option stays longer if its scores are few or contradict one
    another. Scores of what could not be judged do not count.

    References: Chen et al., "Binarized Neural Architecture Search" (BNAS), AAAI 2020, and "BNAS:
    Binarized Neural Architecture Search for Efficient Object Recognition", IJCV 2021, which adds
    the bound; Auer et al., "Finite-time Analysis of the Multiarmed Bandit Problem", Machine
    Learning 2002, and Audibert et al., "Exploration-Exploitation Tradeoff Using Variance Estimates
    in Multi-Armed Bandits", TCS 2009 (the bound).
    """

    name = "elimination"
    summary = "samples all options equally often, drops the worst of every decision (BNAS)"
    each = 1

    samples: Annotated[int, Ge(1)] = 6
    """how often each option of the widest decisions is seen before an elimination"""
    bound: bool = True
    """whether an option is judged by the upper confidence bound of its mean score; false takes the
    mean alone"""
    drop: Literal["worst", "random"] = "worst"
    """what is dropped; random ignores all scores, to compare with"""
    tries: Annotated[int, Ge(1)] = 8
    """orders that are drawn for each pass through the options; that whose architectures exceed the
    budget least is taken"""
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
        """Returns `int32[1, D]`: the next of a pass, the most promising, or the one that is left.

        The state has a key of its own, since the architectures of a pass belong together.
        """
        del key
        is_drawn = state.place < self._draws(state)
        drawn = self._drawn(state, ahead)
        best, excess = best_within_budget(self._values(state), state.alive, ahead, ~is_drawn)
        best = jnp.where((excess > 0) & state.holds, state.held, best)
        return jnp.where(is_drawn, drawn, best)[None]

    def fidelity(self, state: Evidence) -> jax.Array:
        """Returns the lower fidelity until one architecture is left."""
        is_over = state.alive.sum(axis=1).max() == 1
        return jnp.where(is_over, 0, self.fidelities - 1).astype(jnp.int32)

    def tell(self, state: Evidence, architectures: jax.Array, told: Told) -> Evidence:
        """Returns the state with one more score, or with an option less of every decision."""
        row, excess = architectures[0], told.excess[0]
        counts = jnp.isfinite(excess) & jnp.isfinite(told.score[0])
        fits = counts & (excess <= 0)
        state = state._replace(
            held=jnp.where(fits, row, state.held), holds=state.holds | fits, place=state.place + 1
        )
        is_drawn = state.place <= self._draws(state)
        seen = jax.nn.one_hot(row, state.alive.shape[1]) * (counts & is_drawn)
        count = state.count + seen
        score = jnp.where(counts, told.score[0], 0.0)
        step = seen * (score - state.mean)
        mean = state.mean + step / jnp.maximum(count, 1.0)
        squares = state.squares + step * (score - mean)
        after = state._replace(count=count, mean=mean, squares=squares)
        less = self._less(state._replace(held=row, holds=fits), row)
        return jax.tree.map(lambda one, other: jnp.where(is_drawn, one, other), after, less)

    def _less(self, state: Evidence, kept: jax.Array) -> Evidence:
        """Returns the state after an elimination that leaves the options of `kept`, `int32[D]`."""
        own = jax.nn.one_hot(kept, state.alive.shape[1], dtype=bool)
        values = jnp.where(state.alive & ~own, self._values(state), jnp.inf)
        worst = jax.nn.one_hot(values.argmin(axis=1), state.alive.shape[1], dtype=bool)
        several = state.alive.sum(axis=1, keepdims=True) > 1
        zero = jnp.zeros_like(state.mean)
        return state._replace(
            alive=state.alive & ~(worst & several), stage=state.stage + 1,
            place=jnp.zeros_like(state.place), count=zero, mean=zero, squares=zero,
        )  # fmt: skip

    def _draws(self, state: Evidence) -> jax.Array:
        """Returns how many architectures are drawn before the next elimination; 0 at the end."""
        left = state.alive.sum(axis=1).max()
        return jnp.where(left > 1, self.samples * left, 0)

    def _drawn(self, state: Evidence, ahead: Ahead) -> jax.Array:
        """Returns the architecture of this place, `int32[D]`: of its pass in the best order."""
        decisions, options = state.alive.shape
        widths = state.alive.sum(axis=1)
        left = widths.max()
        start = state.place // left * left
        key = jax.random.fold_in(state.key, state.stage)

        def one(attempt, place):
            # Only the widest decisions begin anew with each pass, so only their order is tried.
            attempts = jnp.where(widths == left, attempt, 0)
            folds = jnp.stack([jnp.arange(decisions), place // widths, attempts], axis=1)
            order = jax.vmap(lambda own: _noise(key, own, options))(folds)
            order = jnp.argsort(jnp.where(state.alive, order, 2.0), axis=1)
            return jnp.take_along_axis(order, (place % widths)[:, None], axis=1)[:, 0]

        rows = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(
            jnp.arange(self.tries), start + jnp.arange(options)
        ).astype(jnp.int32)
        if self.tries == 1:
            return rows[0, state.place - start]
        excess = ahead(rows.reshape(-1, decisions)).excess.reshape(self.tries, options)
        excess = jnp.minimum(jnp.maximum(excess, 0.0), 1e6)
        over = jnp.where(jnp.arange(options) < left, excess, 0.0).sum(axis=1)
        return rows[over.argmin(), state.place - start]

    def _values(self, state: Evidence) -> jax.Array:
        """Returns what options are compared by, `float32[D, K]`."""
        if self.drop == "random":
            key = jax.random.fold_in(state.key, state.stage)
            return jax.random.uniform(jax.random.fold_in(key, len(state.alive)), state.alive.shape)
        return bounds_of(state) if self.bound else _means(state)[0]


def bounds_of(state: Evidence) -> jax.Array:
    """Returns the upper confidence bound of each option, `float32[D, K]`.

    It is infinite for an option of which no score was told.
    """
    mean, variance = _means(state)
    count = state.count
    own = (state.squares + variance) / jnp.maximum(count, 1.0)
    total = jnp.maximum(count.sum(axis=1, keepdims=True), 1.0)
    width = jnp.sqrt(own * 2.0 * jnp.log(total) / jnp.maximum(count, 1.0))
    return jnp.where(count > 0, mean + width, jnp.inf)


def _means(state: Evidence) -> tuple[jax.Array, jax.Array]:
    """Returns the mean score of each option, and the variance of all, `float32[D, 1]`.

    Without a score, an option has the mean of its decision.
    """
    total = jnp.maximum(state.count.sum(axis=1, keepdims=True), 1.0)
    middle = (state.count * state.mean).sum(axis=1, keepdims=True) / total
    between = state.count * (state.mean - middle) ** 2
    variance = (state.squares + between).sum(axis=1, keepdims=True) / total
    return jnp.where(state.count > 0, state.mean, middle), variance


def _noise(key, folds, count):
    for number in folds:
        key = jax.random.fold_in(key, number)
    return jax.random.uniform(key, (count,))
