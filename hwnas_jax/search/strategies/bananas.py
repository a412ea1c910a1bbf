"""BANANAS: an ensemble of networks on paths, and independent Thompson sampling.

Legend: `n` architectures a round, `P` candidates, `D` decisions, `K` options, `F` features.
"""

import dataclasses
import functools
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from hwnas_jax.search.predictors import Ensemble
from hwnas_jax.search.strategies.assisted import AssistedSearch
from hwnas_jax.search.strategies.base import STRATEGIES, Ahead
from hwnas_jax.search.strategies.infill import thompson
from hwnas_jax.search.strategies.memory import Memory, fittest, most_promising
from hwnas_jax.search.strategies.moves import pick


def mutated_everywhere(
    key: jax.Array, architecture: jax.Array, mask: jax.Array, chance: float
) -> jax.Array:
    """Returns an architecture (`int32[D]`) with each decision at another option by a chance.

    Args:
      key: random key.
      architecture: `int32[D]`.
      mask: `bool[D, K]`, true where an option exists.
      chance: that a decision changes; one with a single option stays.
    """
    which_key, option_key = jax.random.split(key)
    others = mask & (jnp.arange(mask.shape[1]) != architecture[:, None])
    changes = jax.random.uniform(which_key, architecture.shape) < chance
    return jnp.where(changes & others.any(axis=1), pick(option_key, others), architecture)


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class Bananas(AssistedSearch):
    """Bayesian optimisation with an ensemble of networks on the truncated path encoding.

    Ten random architectures begin. Then each round trains the ensemble on all that is known, draws
    changes of the best architecture, and asks for the ten whose score is highest in one draw from
    the ensemble's normal distribution, independent for each candidate. The features are those that
    the space adds to its options: for a cell, the sequences of operations on its paths, short ones
    first, cut after `paths`. Where a space adds none, all of its features are used.

    References: White, Neiswanger and Savani, "BANANAS: Bayesian Optimization with Neural
    Architectures for Neural Architecture Search", AAAI 2021. The defaults are those that the
    authors published for NAS-Bench-201: all paths of one and two operations, and a chance to change
    of one in four for each edge. A candidate over the budget is asked for only where none keeps it.
    """

    name = "bananas"
    summary = "BANANAS: ensemble on path encodings, independent Thompson sampling"

    each: Annotated[int, Ge(1)] = 10
    """architectures a round asks for"""
    pool: Annotated[int, Ge(2)] = 100
    """candidates of a round"""
    parents: Annotated[int, Ge(1)] = 1
    """best architectures so far, of which the candidates are changes"""
    chance: Annotated[float, Gt(0)] = 0.25
    """chance of each decision of a candidate to differ from its parent"""
    paths: Annotated[int, Ge(1)] = 20
    """features that are kept of those that the space adds to its options"""
    members: Annotated[int, Ge(2)] = 5
    """networks of the ensemble"""
    epochs: Annotated[int, Ge(1)] = 150
    """of their training, in every round"""

    @functools.cached_property
    def learner(self) -> Ensemble:
        """The published ensemble."""
        return Ensemble(members=self.members, epochs=self.epochs)

    def choose(self, state: Memory, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns `int32[each, D]`, the highest draws of the candidates."""
        fit_key, pool_key, draw_key = jax.random.split(key, 3)
        parents = state.architectures[fittest(state, self.parents)]
        pool = jax.vmap(lambda own, one: mutated_everywhere(own, one, state.mask, self.chance))(
            jax.random.split(pool_key, self.pool), parents[jnp.arange(self.pool) % self.parents]
        )
        known, outlook = ahead(state.architectures), ahead(pool)
        paths = functools.partial(self._paths, mask=state.mask)
        scores = jnp.where(state.known, state.told.score, 0.0)
        fitted = self.learner.fit(fit_key, paths(known.features), scores, state.known)
        mean, std = self.learner.predict(fitted, paths(outlook.features))
        rows = most_promising(
            thompson(draw_key, mean, std),
            outlook.excess, outlook.features, known.features, state.filled, self.each,
        )  # fmt: skip
        return pool[rows]

    def _paths(self, features: jax.Array, mask: jax.Array) -> jax.Array:
        added = features[:, mask.size :]
        return added[:, : self.paths] if added.shape[1] else features
