"""NSGA-II: a population that spreads over the front of score and cost.

Legend: `n` architectures, `P` members of the population, `D` decisions, `K` options of the widest
decision.
"""

import dataclasses
from typing import Annotated, NamedTuple

import chex
import jax
import jax.numpy as jnp
from annotated_types import Ge, Le

from hwnas_jax.errors import UserError
from hwnas_jax.search.strategies.base import STRATEGIES, Ahead, Strategy, Told
from hwnas_jax.search.strategies.moves import (
    away_from,
    pick,
    random_architectures,
    within_budget,
)

_NO_MEMBER = 1e30


def known(told: Told) -> Told:
    """Returns the same without NaN and infinity: what is no member of the space is far outside.

    Args:
      told: leaves `float32[n]`.
    """
    unknown = jnp.isnan(told.score) | jnp.isnan(told.excess) | jnp.isnan(told.cost)
    return Told(
        score=jnp.where(unknown, 0.0, told.score),
        excess=jnp.where(unknown, _NO_MEMBER, jnp.clip(told.excess, 0, _NO_MEMBER)),
        cost=jnp.where(unknown, 0.0, told.cost),
    )


def dominates(told: Told) -> jax.Array:
    """Returns whether architecture `i` dominates `j`, `bool[n, n]` in row `i` and column `j`.

    Of two that keep the budget one dominates when it is no worse in score and cost, and better in
    one of them. Otherwise the one with the smaller excess dominates.

    Args:
      told: leaves `float32[n]`, numbers.
    """
    chex.assert_equal_shape(told)
    no_worse = (told.score[:, None] >= told.score) & (told.cost[:, None] <= told.cost)
    better = (told.score[:, None] > told.score) | (told.cost[:, None] < told.cost)
    nearer = told.excess[:, None] < told.excess
    alike = told.excess[:, None] == told.excess
    return nearer | (alike & no_worse & better)


def front_numbers(told: Told) -> jax.Array:
    """Returns the front of each architecture, `int32[n]`: zero where none dominates it.

    Front `f` is what is not dominated when the fronts before it are left out.
    """
    over = dominates(told)

    def peel(carry):
        number, left, fronts = carry
        front = left & ~(over & left[:, None]).any(axis=0)
        return number + 1, left & ~front, jnp.where(front, number, fronts)

    count = len(told.score)
    start = jnp.zeros((), jnp.int32), jnp.ones(count, bool), jnp.zeros(count, jnp.int32)
    return jax.lax.while_loop(lambda carry: carry[1].any(), peel, start)[2]


def crowding(values: jax.Array, fronts: jax.Array) -> jax.Array:
    """Returns how far apart the neighbours of each lie in its front, `float32[n]`.

    It is the sum over objectives of the distance between the next smaller and the next larger
    value, as a share of the front's range; infinite for the smallest and the largest.

    Args:
      values: `float32[n, M]`, one column for each of `M` objectives.
      fronts: `int32[n]`.
    """
    chex.assert_rank([values, fronts], [2, 1])
    count = len(fronts)

    def along(column):
        order = jnp.lexsort((column, fronts))
        value, front = column[order], fronts[order]
        turn = jnp.concatenate([jnp.ones(1, bool), front[1:] != front[:-1]])
        is_end = turn | jnp.concatenate([turn[1:], jnp.ones(1, bool)])
        lowest = jax.ops.segment_min(column, fronts, count)[front]
        highest = jax.ops.segment_max(column, fronts, count)[front]
        gap = jnp.roll(value, -1) - jnp.roll(value, 1)
        share = gap / jnp.where(highest > lowest, highest - lowest, 1.0)
        return jnp.zeros(count).at[order].set(jnp.where(is_end, jnp.inf, share))

    return jax.vmap(along, in_axes=1)(values).sum(axis=0)


class Generation(NamedTuple):
    """Parents and the children that are known so far.

    Attributes:
      mask: `bool[D, K]`, true where an option exists.
      architectures: `int32[2 * P, D]`: the parents, the best first, then the children; negative
        where there is none yet.
      told: what was told of them, leaves `float32[2 * P]`.
      seen: `int32[]`, architectures told so far.
    """

    mask: jax.Array
    architectures: jax.Array
    told: Told
    seen: jax.Array


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class NSGA2(Strategy):
    """Keeps the best fronts of parents and children, and the least crowded of the last front.

    The objectives are a high score and a low cost; without a cost model it is a plain genetic
    algorithm. Any architecture within the budget dominates any outside it. The first `population`
    architectures are random. Then each child has two parents, each the better of two drawn at
    random: the one of the lower front or, within a front, the less crowded. It takes every
    decision from either with equal probability, and some are changed. When there are as many
    children as parents, the best of both are the next parents. A child that is predicted to be
    over the budget, or equals a parent or a child, is drawn again, up to `tries` times.

    References: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE
    Transactions on Evolutionary Computation 2002. Probabilities are those of the paper. Its
    population is 100; it is smaller here because the evaluations of a search are few.
    """

    name = "nsga2"
    summary = "a genetic algorithm that keeps the front of score and cost"

    population: Annotated[int, Ge(2)] = 20
    """parents of a generation, and its children"""
    crossover: Annotated[float, Ge(0), Le(1)] = 0.9
    """probability that a child mixes two parents; otherwise it begins as a copy of one"""
    mutation: Annotated[float, Ge(0), Le(1)] | None = None
    """probability of each decision to change; when left out, one decision changes on average"""
    each: Annotated[int, Ge(1)] = 1
    """architectures a round asks for; the population is a multiple of it"""
    tries: Annotated[int, Ge(1)] = 8
    """draws for each; the first that is new and predicted to keep the budget is asked for"""

    def __post_init__(self):
        if self.population % self.each:
            raise UserError(
                f"strategy {self.name}: population = {self.population} must be a multiple of "
                f"each = {self.each}, the architectures of a round"
            )

    @property
    def initial(self) -> int:
        """As many as there are parents."""
        return self.population

    def init(self, key: jax.Array, mask: jax.Array) -> Generation:
        """Returns a generation without parents or children."""
        del key
        none = jnp.zeros(2 * self.population, jnp.float32)
        return Generation(
            mask=mask,
            architectures=jnp.full((2 * self.population, len(mask)), -1, jnp.int32),
            told=Told(none, none + jnp.inf, none),
            seen=jnp.zeros((), jnp.int32),
        )

    def ask(self, state: Generation, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns `int32[each, D]`: random ones until there are parents, then children."""
        new = away_from(ahead, state.architectures)

        def starts(key):
            def draw(key):
                return random_architectures(key, state.mask, 1)[0]

            return within_budget(key, new, draw, self.each, self.tries)

        return jax.lax.cond(
            state.seen < self.population, starts, lambda key: self.children(state, key, ahead), key
        )

    def children(self, state: Generation, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns new architectures of the parents' decisions, `int32[each, D]`."""
        new = away_from(ahead, state.architectures)
        return within_budget(key, new, lambda key: self._child(state, key), self.each, self.tries)

    def _child(self, state: Generation, key: jax.Array) -> jax.Array:
        parent_key, mix_key, from_key, change_key, option_key = jax.random.split(key, 5)
        # The parents are in order, so that the smaller number wins.
        drawn = jax.random.randint(parent_key, (2, 2), 0, self.population).min(axis=1)
        one, other = state.architectures[drawn]
        mixes = jax.random.bernoulli(mix_key, self.crossover)
        child = jnp.where(mixes & jax.random.bernoulli(from_key, 0.5, one.shape), other, one)
        others = state.mask & (jnp.arange(state.mask.shape[1]) != child[:, None])
        free = others.any(axis=1)
        share = 1 / jnp.maximum(free.sum(), 1) if self.mutation is None else self.mutation
        changes = free & jax.random.bernoulli(change_key, share, free.shape)
        return jnp.where(changes, pick(option_key, others), child)

    def tell(self, state: Generation, architectures: jax.Array, told: Told) -> Generation:
        """Returns the generation with more children, or the next one when these are all."""
        place = self.population + state.seen % self.population

        def write(every, new):
            return jax.lax.dynamic_update_slice_in_dim(every, new, place, 0)

        seen = state.seen + self.each
        state = Generation(
            mask=state.mask,
            architectures=write(state.architectures, architectures),
            told=jax.tree.map(write, state.told, known(told)),
            seen=seen,
        )
        return jax.lax.cond(seen % self.population == 0, self._next, lambda same: same, state)

    def _next(self, state: Generation) -> Generation:
        best = self.survivors(state)
        empty = self.init(jax.random.key(0), state.mask)

        def keep(every, none):
            return jnp.concatenate([every[best], none[self.population :]])

        return state._replace(
            architectures=keep(state.architectures, empty.architectures),
            told=jax.tree.map(keep, state.told, empty.told),
        )

    def survivors(self, state: Generation) -> jax.Array:
        """Returns which rows of parents and children are the next parents, `int32[P]`."""
        fronts = front_numbers(state.told)
        apart = crowding(jnp.stack([state.told.score, state.told.cost], axis=1), fronts)
        return jnp.lexsort((-apart, fronts))[: self.population]
