"""Search by a surrogate: what a predictor finds promising is evaluated, and it learns from that.

Legend: `n` architectures a round, `P` candidates, `M` remembered ones, `D` decisions.
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
from hwnas_jax.search.strategies.base import STRATEGIES, Ahead
from hwnas_jax.search.strategies.infill import (
    constrained_improvement,
    expected_improvement,
    thompson,
    upper_confidence,
)
from hwnas_jax.search.strategies.memory import Memory, fittest, most_promising, normal_scores
from hwnas_jax.search.strategies.moves import mutated

Infill = Literal["expected_improvement", "upper_confidence", "thompson", "constrained_improvement"]


def targets_of(state: Memory, kind: str) -> tuple[jax.Array, jax.Array]:
    """Returns what a predictor learns of the remembered architectures, and the best so far.

    Args:
      state: what is remembered.
      kind: "scores", or "ranks" for the normal quantiles of their ranks.

    Returns:
      `float32[M]`, and `float32[]`: the highest within the budget, or the lowest of all while none
      keeps it, so that the best mean is as good as the best improvement.
    """
    score = jnp.where(state.known, state.told.score, 0.0)
    targets = normal_scores(score, state.known) if kind == "ranks" else score
    inside = state.known & (state.told.excess <= 0)
    best = jnp.where(inside, targets, -jnp.inf).max()
    lowest = jnp.where(state.known, targets, jnp.inf).min()
    lowest = jnp.where(jnp.isfinite(lowest), lowest, 0.0)
    return targets, jnp.where(inside.any(), best, lowest)


def changed(key: jax.Array, architecture: jax.Array, mask: jax.Array, times: int) -> jax.Array:
    """Returns an architecture (`int32[D]`) after one to `times` mutations, each as likely."""
    number_key, *keys = jax.random.split(key, times + 1)
    number = jax.random.randint(number_key, (), 1, times + 1)
    for done, own in enumerate(keys):
        architecture = jnp.where(done < number, mutated(own, architecture, mask), architecture)
    return architecture


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class SurrogateSearch(AssistedSearch):
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

    predictor: str = "gaussian"
    """what learns: gaussian, ridge, ensemble, ranker, or your own: my_predictor.py:MyPredictor"""
    infill: Infill = "expected_improvement"
    """what makes a candidate promising; constrained_improvement weighs the expected improvement
    by the chance to keep the budget"""
    pool: Annotated[int, Ge(2)] = 200
    """candidates of a round"""
    parents: Annotated[int, Ge(1)] = 10
    """best architectures so far, of which one half of the pool are changes"""
    changes: Annotated[int, Ge(1)] = 3
    """most decisions at which a candidate differs from its parent"""
    targets: Literal["scores", "ranks"] = "ranks"
    """what is predicted: scores, or the normal quantiles of their ranks, in which no very bad
    network hides the differences among good ones"""
    deviations: Annotated[float, Ge(0)] = 1.0
    """standard deviations that upper_confidence adds to the mean"""
    refit: bool = True
    """learn from every round; otherwise only from the initial architectures, and what is predicted
    to be the best is asked for, whatever the infill criterion"""

    def __post_init__(self):
        super().__post_init__()
        self.learner  # noqa: B018  a wrong name is told now

    @functools.cached_property
    def learner(self) -> Predictor:
        """The predictor with its own defaults."""
        return PREDICTORS.make(Part(self.predictor))

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
        pool = self.candidates(state, pool_key, ahead)
        outlook = ahead(pool)
        mean, std = self.learner.predict(fitted, outlook.features)
        value = self._value(infill_key, mean, std, best, outlook.chance)
        rows = most_promising(
            value, outlook.excess, outlook.features, known.features, state.filled, self.each
        )
        return pool[rows]

    def candidates(self, state: Memory, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns the pool of a round, `int32[P, D]`."""
        change_key, random_key = jax.random.split(key)
        count = self.pool // 2
        parents = state.architectures[fittest(state, self.parents)]
        parents = parents[jnp.arange(count) % self.parents]
        children = jax.vmap(lambda own, parent: changed(own, parent, state.mask, self.changes))(
            jax.random.split(change_key, count), parents
        )
        drawn = self.random(random_key, state, ahead, self.pool - count)
        return jnp.concatenate([children, drawn])

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
