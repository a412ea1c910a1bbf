"""Searches by samplers of Optuna that learn from all they were told.

Legend: `M` places of the memory, `n` architectures a round, `D` decisions.
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge

from hwnas_jax.search.strategies.assisted import AssistedSearch
from hwnas_jax.search.strategies.base import Ahead, Told
from hwnas_jax.search.strategies.memory import Memory
from hwnas_jax.search.strategies.optuna_search import Known, OptunaSearch


@dataclasses.dataclass(frozen=True)
class OptunaLearner(OptunaSearch, AssistedSearch):
    """Asks for random architectures at first, then for what a sampler suggests by all it knows.

    With a storage the random ones are as many for all processes together.
    """

    each: Annotated[int, Ge(1)] = 1
    """architectures a round asks for"""

    def ask(self, state: Memory, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns `int32[each, D]`: random ones at first, then what the sampler suggests."""
        if self.storage:
            return self.choose(state, key, ahead)
        return AssistedSearch.ask(self, state, key, ahead)

    def choose(self, state: Memory, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns what the sampler suggests, `int32[each, D]`."""
        size = len(state.architectures)
        oldest = jnp.where(state.seen > size, state.seen % size, 0)
        order = (oldest + jnp.arange(size)) % size
        rows, told, filled = jax.tree.map(
            lambda leaf: leaf[order], (state.architectures, state.told, state.filled)
        )
        known = Known(rows, told, filled, filled, state.seen)
        return self.suggest(key, state.mask, known, ahead)

    def tell(self, state: Memory, architectures: jax.Array, told: Told) -> Memory:
        """Returns the memory with the new architectures, which a storage takes as well."""
        seen = self.recorded(state.mask, state.seen, architectures, told)
        return AssistedSearch.tell(self, state, architectures, told)._replace(seen=seen)
