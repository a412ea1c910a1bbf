"""A strategy of one's own, named as my_strategy.py:HillClimbing where a strategy is asked for."""

import dataclasses
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Gt

from hwnas_jax.search.strategies import Strategy, fitness, mutated, random_architectures


class Place(NamedTuple):
    mask: jax.Array
    best: jax.Array
    height: jax.Array
    misses: jax.Array


@dataclasses.dataclass(frozen=True)
class HillClimbing(Strategy):
    """Keeps one architecture, tries one change at a time, and takes what is better."""

    name = "hill_climbing"
    summary = "one change at a time, from a new start when stuck"
    each = 1

    patience: Annotated[int, Gt(0)] = 12
    """changes in a row that bring nothing before a new start"""

    def init(self, key, mask):
        best = random_architectures(key, mask, 1)[0]
        return Place(mask, best, jnp.float32(-jnp.inf), jnp.int32(0))

    def ask(self, state, key, ahead):
        start, change = jax.random.split(key)
        fresh = random_architectures(start, state.mask, 1)
        neighbour = mutated(change, state.best, state.mask)[None]
        is_start = jnp.isinf(state.height) | (state.misses >= self.patience)
        return jnp.where(is_start, fresh, neighbour)

    def tell(self, state, architectures, told):
        height = fitness(told)[0]
        takes = (height > state.height) | (state.misses >= self.patience)
        return Place(
            mask=state.mask,
            best=jnp.where(takes, architectures[0], state.best),
            height=jnp.where(takes, height, state.height),
            misses=jnp.where(takes, 0, state.misses + 1),
        )
