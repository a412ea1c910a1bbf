"""Search by a surrogate: what a predictor finds promising is evaluated, and it learns from that.

Legend: `n` architectures a round, `P` candidates, `M` remembered ones, `D` decisions.
"""

import dataclasses
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge

from hwnas_jax.search.strategies.base import STRATEGIES, Ahead
from hwnas_jax.search.strategies.infill import (
    constrained_improvement,
    expected_improvement,
    thompson,
    upper_confidence,
)
from hwnas_jax.search.strategies.memory import Memory, fittest, most_promising, targets_of
from hwnas_jax.search.strategies.pool import PoolSearch

Infill = Literal["expected_improvement", "upper_confidence", "thompson", "constrained_improvement"]


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class SurrogateSearch(PoolSearch):
    """Fits a predictor to all that is known and asks for what it finds most promising.

    Each round fits the predictor, forms a pool of candidates, and asks for the best of them by the
    infill criterion that were not asked for before. One half of the pool is drawn uniformly, the
    other consists of the best architectures so far with a few changes. Only candidates that are
    predicted to keep the budget are asked for, where the pool has such.

    References: Jones, Schonlau and Welch, "Efficient Global Optimization of Expensive Black-Box
    Functions", 1998; Elsken, Metzen and Hutter, "Neural Architecture Search: A Survey", JMLR 2019.
    """

    name = "surrogate"
    summary = "a predictor of accuracy chooses what is evaluated, and learns from it"

    infill: Infill = "expected_improvement"
    """what makes a candidate promising; constrained_improvement weighs the expected improvement
    by the chance to keep the budget"""
    parents: Annotated[int, Ge(1)] = 10
    """best architectures so far, of which one half of the pool are changes"""
    deviations: Annotated[float, Ge(0)] = 1.0
    """standard deviations that upper_confidence adds to the mean"""
    refit: bool = True
    """learn from every round; otherwise only from the initial architectures, and what is predicted
    to be the best is asked for, whatever the infill criterion"""

    def choose(self, state: Memory, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns `int32[each, D]`, the most promising of a new pool."""
        fit_key, pool_key, infill_key = jax.random.split(key, 3)
        targets, best = targets_of(state, self.targets)
        learned = state.known
        if not self.refit:
            learned &= jnp.arange(self.memory) < self.initial
            # Every round has to learn the same.
            fit_key = jax.random.key(0)
        known = ahead(state.architectures)
        fitted = self.learner.fit(fit_key, known.features, targets, learned)
        parents = state.architectures[fittest(state, self.parents)]
        pool = self.candidates(state, pool_key, ahead, parents)
        outlook = ahead(pool)
        mean, std = self.learner.predict(fitted, outlook.features)
        value = self._value(infill_key, mean, std, best, outlook.chance)
        rows = most_promising(
            value, outlook.excess, outlook.features, known.features, state.filled, self.each
        )
        return pool[rows]

    def _value(self, key, mean, std, best, chance):
        if not self.refit:
            return mean
        if self.infill == "expected_improvement":
            return expected_improvement(mean, std, best)
        if self.infill == "upper_confidence":
            return upper_confidence(mean, std, self.deviations)
        if self.infill == "thompson":
            return thompson(key, mean, std)
        return constrained_improvement(mean, std, best, chance)
