"""What searches share that learn a predictor and choose from a pool of candidates.

Legend: `n` architectures, `P` candidates, `D` decisions.
"""

import dataclasses
import functools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge

from hwnas_jax.registry import Part
from hwnas_jax.search.predictors import PREDICTORS, Predictor
from hwnas_jax.search.strategies.assisted import AssistedSearch
from hwnas_jax.search.strategies.base import Ahead
from hwnas_jax.search.strategies.memory import Memory
from hwnas_jax.search.strategies.moves import changed


@dataclasses.dataclass(frozen=True)
class PoolSearch(AssistedSearch):
    """Fits a predictor to all that is known and chooses from a pool of candidates.

    One half of the pool is drawn uniformly, the other consists of good architectures with a few
    changes. A subclass says in `choose` which are good, and which candidates are asked for.
    """

    predictor: str = "gaussian"
    """what learns: gaussian, ridge, ensemble, ranker, or your own: my_predictor.py:MyPredictor"""
    pool: Annotated[int, Ge(2)] = 200
    """candidates of a round"""
    changes: Annotated[int, Ge(1)] = 3
    """most decisions at which a candidate differs from its parent"""
    targets: Literal["scores", "ranks"] = "ranks"
    """what is predicted: scores, or the normal quantiles of their ranks, in which no very bad
    network hides the differences among good ones"""

    def __post_init__(self):
        super().__post_init__()
        self.learner  # noqa: B018  a wrong name is told now

    @functools.cached_property
    def learner(self) -> Predictor:
        """The predictor with its own defaults."""
        return PREDICTORS.make(Part(self.predictor))

    def candidates(
        self, state: Memory, key: jax.Array, ahead: Ahead, parents: jax.Array
    ) -> jax.Array:
        """Returns the pool of a round, `int32[P, D]`.

        Args:
          state: what is remembered.
          key: random key.
          ahead: says what keeps the budget.
          parents: `int32[n, D]`, what one half of the pool are changes of, each as often.
        """
        change_key, random_key = jax.random.split(key)
        count = self.pool // 2
        parents = parents[jnp.arange(count) % len(parents)]
        children = jax.vmap(lambda own, parent: changed(own, parent, state.mask, self.changes))(
            jax.random.split(change_key, count), parents
        )
        drawn = self.random(random_key, state, ahead, self.pool - count)
        return jnp.concatenate([children, drawn])
