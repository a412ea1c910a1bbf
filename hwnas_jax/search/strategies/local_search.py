"""Local search: moves to a better neighbour until there is none, then begins elsewhere.

Legend: `D` decisions, `K` options of the widest decision, `W` words of 32 bits.
"""

import dataclasses
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge

from hwnas_jax.search.strategies.base import STRATEGIES, Ahead, Strategy, Told, fitness
from hwnas_jax.search.strategies.bits import member, packed, size, words_for
from hwnas_jax.search.strategies.moves import (
    Options,
    away_from,
    options_of,
    random_architectures,
    within_budget,
)


class Climb(NamedTuple):
    """Where a climb stands.

    Attributes:
      options: of every decision.
      centre: `int32[D]`, the best architecture of this climb; negative before there is one.
      fitness: `float32[]`, what it is ranked by.
      excess: `float32[]`, how far over the budget it lies.
      known: `uint32[W]`, the set of the neighbours of the centre that were evaluated: number
        `d * K + k` stands for the architecture whose decision `d` takes option `k` instead. The
        centre's own options are in it as well.
      starts: `int32[]`, random architectures that this climb still begins with.
    """

    options: Options
    centre: jax.Array
    fitness: jax.Array
    excess: jax.Array
    known: jax.Array
    starts: jax.Array


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class LocalSearch(Strategy):
    """Asks for the neighbours of one architecture, in random order, and moves to the first better.

    A climb begins with a few random architectures; the best of them is its first centre. Neighbours
    differ from the centre in one decision. As soon as one is better it becomes the centre; where
    none is, the centre is a local optimum and a new climb begins. A neighbour is evaluated once
    around a centre, and what the previous centre's neighbourhood shares with this one is not
    evaluated again. Neighbours that are predicted to lie further over the budget than the centre
    cannot be better and are left out.

    References: White et al., "Exploring the Loss Landscape in Neural Architecture Search", UAI
    2021. The defaults are those of the authors' code: the first better neighbour is taken, and
    the search stops at a local optimum to begin again with ten random architectures.
    """

    name = "local_search"
    summary = "moves to the first better neighbour; begins elsewhere at a local optimum"
    each = 1

    starts: Annotated[int, Ge(1)] = 10
    """random architectures that each climb begins with; the best of them is climbed from"""
    tries: Annotated[int, Ge(1)] = 8
    """draws for each of them; the first that is predicted to keep the budget is asked for"""

    @property
    def initial(self) -> int:
        """As many as a climb begins with."""
        return self.starts

    def init(self, key: jax.Array, mask: jax.Array) -> Climb:
        """Returns a climb without a centre."""
        del key
        return Climb(
            options=options_of(mask),
            centre=jnp.full(len(mask), -1, jnp.int32),
            fitness=jnp.full((), -jnp.inf, jnp.float32),
            excess=jnp.full((), jnp.inf, jnp.float32),
            known=jnp.zeros(words_for(mask.size), jnp.uint32),
            starts=jnp.full((), self.starts, jnp.int32),
        )

    def ask(self, state: Climb, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns `int32[1, D]`: a neighbour of the centre, or a random start."""
        start_key, neighbour_key = jax.random.split(key)
        # A new start that lies beside the old centre would be told as a neighbour of it.
        start = within_budget(
            start_key,
            away_from(ahead, state.centre[None], distance=1),
            lambda key: random_architectures(key, state.options, 1)[0],
            1,
            self.tries,
        )
        decisions, width = state.options.mask.shape
        place = jnp.arange(decisions * width)
        neighbours = self._neighbour(state, place[:, None])
        promising = ahead(neighbours).excess <= jnp.maximum(state.excess, 0)
        exists = state.options.mask.ravel() & promising
        left = packed(jnp.where(exists, place, -1), len(state.known)) & ~state.known
        count = size(left)
        number = jnp.floor(jax.random.uniform(neighbour_key) * count).astype(jnp.int32)
        is_start = (state.starts > 0) | (count == 0)
        neighbour = self._neighbour(state, member(left, number))
        # XLA computes what it stacks once, and a choice anew for everything that reads it.
        return jnp.concatenate([neighbour[None], start])[is_start.astype(int)][None]

    def _neighbour(self, state: Climb, place: jax.Array) -> jax.Array:
        decisions, width = state.options.mask.shape
        return jnp.where(jnp.arange(decisions) == place // width, place % width, state.centre)

    def tell(self, state: Climb, architectures: jax.Array, told: Told) -> Climb:
        """Returns the climb after one more architecture is known."""
        asked, height, excess = architectures[0], fitness(told)[0], told.excess[0]
        differs = asked != state.centre
        is_neighbour = (state.starts == 0) & (differs.sum() == 1)
        is_new_climb = (state.starts == 0) & ~is_neighbour
        moves = is_new_climb | (height > state.fitness)
        centre = jnp.where(moves, asked, state.centre)
        decisions, width = state.options.mask.shape
        words, first = len(state.known), jnp.arange(decisions) * width
        # Of a neighbour one decision differs, whose row both centres share after a move.
        row = jnp.where(differs, first, 0).sum()
        shared = jnp.where(moves, packed(row + jnp.arange(width), words), ~jnp.uint32(0))
        new = packed((row + jnp.where(differs, asked, 0).sum())[None], words)
        known = jnp.where(is_neighbour, (state.known | new) & shared, jnp.uint32(0))
        starts = jnp.where(is_new_climb, self.starts, state.starts)
        return Climb(
            options=state.options,
            centre=centre,
            fitness=jnp.where(moves, height, state.fitness),
            excess=jnp.where(moves, excess, state.excess),
            known=known | packed(first + centre, words),
            starts=jnp.where(is_neighbour, 0, starts - 1),
        )
