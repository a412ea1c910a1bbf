"""What searches that learn from all they were told have in common.

Legend: `n` architectures a round, `P` candidates, `D` decisions, `F` features.
"""

import abc
import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge

from hwnas_jax.errors import UserError
from hwnas_jax.search.strategies.base import Ahead, Strategy, Told
from hwnas_jax.search.strategies.memory import Memory, empty_memory, remembered
from hwnas_jax.search.strategies.moves import random_architectures, within_budget


@dataclasses.dataclass(frozen=True)
class AssistedSearch(Strategy):
    """Asks for random architectures at first, then for what it has learned to choose.

    A subclass says in `choose` how the later ones are chosen by what is known.
    """

    initial: Annotated[int, Ge(2)] = 10
    """architectures drawn at random before anything is learned"""
    each: Annotated[int, Ge(1)] = 5
    """architectures a round asks for"""
    tries: Annotated[int, Ge(1)] = 8
    """draws for each random one; the first that is predicted to keep the budget is taken"""
    memory: Annotated[int, Ge(2)] = 256
    """architectures that are remembered and learned from; the oldest is forgotten for a new one"""

    def __post_init__(self):
        most = max(self.initial, self.each)
        if self.memory < most:
            raise UserError(
                f"strategy {self.name}: memory = {self.memory} has no place for the {most} "
                "architectures of initial and each; it must be at least that"
            )

    def init(self, key: jax.Array, mask: jax.Array) -> Memory:
        """Returns an empty memory."""
        del key
        return empty_memory(mask, self.memory)

    def ask(self, state: Memory, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns `int32[each, D]`: random ones at first, then those that `choose` returns."""
        random_key, choice_key = jax.random.split(key)
        drawn = self.random(random_key, state, ahead, self.each)
        is_first = state.seen + jnp.arange(self.each) < self.initial
        # The number of architectures told is the same for all seeds, so that this stays a branch
        # where seeds run together.
        chosen = jax.lax.cond(
            is_first[-1], lambda: drawn, lambda: self.choose(state, choice_key, ahead)
        )
        return jnp.where(is_first[:, None], drawn, chosen)

    @abc.abstractmethod
    def choose(self, state: Memory, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns the architectures to ask for by what is known, `int32[each, D]`."""

    def tell(self, state: Memory, architectures: jax.Array, told: Told) -> Memory:
        """Returns the memory with the new architectures."""
        return remembered(state, architectures, told)

    def random(self, key: jax.Array, state: Memory, ahead: Ahead, count: int) -> jax.Array:
        """Returns `int32[count, D]` drawn uniformly, within the budget where `tries` find it."""
        return within_budget(
            key, ahead, lambda own: random_architectures(own, state.mask, 1)[0], count, self.tries
        )
