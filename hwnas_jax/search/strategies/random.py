"""Random search, what every other strategy has to beat."""

import dataclasses
from typing import Annotated

import jax
from annotated_types import Ge

from hwnas_jax.search.strategies.base import STRATEGIES, Ahead, Strategy, Told
from hwnas_jax.search.strategies.moves import random_architectures, within_budget


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class RandomSearch(Strategy):
    """Asks for architectures drawn uniformly within the budget; learns nothing from the answers.

    References: Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture
    Search", UAI 2019.
    """

    name = "random"
    summary = "architectures drawn uniformly"

    each: Annotated[int, Ge(1)] = 1
    """architectures a round asks for"""
    tries: Annotated[int, Ge(1)] = 16
    """draws for each; the first that is predicted to keep the budget is asked for"""

    def init(self, key: jax.Array, mask: jax.Array) -> jax.Array:
        """Returns `mask`, all that the next draw depends on."""
        del key
        return mask

    def ask(self, state: jax.Array, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns `int32[each, D]` random architectures."""
        return within_budget(
            key, ahead, lambda key: random_architectures(key, state, 1)[0], self.each, self.tries
        )

    def tell(self, state: jax.Array, architectures: jax.Array, told: Told) -> jax.Array:
        """Returns the state as it was."""
        del architectures, told
        return state
