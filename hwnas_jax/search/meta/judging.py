"""Adapts a learned start to episodes, and tests what comes of it beside what took no adaptation.

Every network of an episode starts from the same learned weights and takes the same number of inner
steps on the same support.

Legend: `D` decisions.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from hwnas_jax.data.episodes import Episode
from hwnas_jax.search.expected_cost import bound_of
from hwnas_jax.search.meta.base import Learned, MetaLearner, MetaTask, adapt
from hwnas_jax.search.meta.choice import Field, choose
from hwnas_jax.search.meta.objectives import Objectives, Price
from hwnas_jax.spaces.base import Space


class Judged(NamedTuple):
    """What an episode gave; metrics are those of the query, `float32[]` each.

    Attributes:
      mixed: weights and architecture adapted, all options mixed as the gates have them.
      adapted: the same weights, with the chosen architecture alone: nothing is trained again.
      anew: the chosen architecture with weights adapted for it from the learned ones.
      fixed: the architecture that is chosen without any adaptation, its weights adapted.
      random: an architecture drawn at random, of those that meet the budget, its weights adapted.
      unrepaired: one where the strongest options met the budget by themselves, otherwise zero.
      cost: of the chosen architecture in the metric of the budget, with the target's deviations;
        zero without a budget.
    """

    mixed: jax.Array
    adapted: jax.Array
    anew: jax.Array
    fixed: jax.Array
    random: jax.Array
    unrepaired: jax.Array
    cost: jax.Array


METRICS = ("mixed", "adapted", "anew", "fixed", "random")
"""The entries of `Judged` that are metrics of a network."""


@dataclasses.dataclass(frozen=True, eq=False)
class Judge:
    """Adapts to episodes and tests.

    Attributes:
      objectives: makes tasks of episodes.
      learner: takes the inner steps.
      space: the search space.
      temperature: of the gates, that which the learning ended with.
    """

    objectives: Objectives
    learner: MetaLearner
    space: Space
    temperature: float

    def __call__(
        self,
        key: jax.Array,
        start: Learned,
        episode: Episode,
        field: Field,
        price: Price | None = None,
    ) -> Judged:
        """Returns what an episode gives.

        Args:
          key: random key.
          start: the learned one.
          episode: support and query.
          field: the architectures that may be kept.
          price: limits and what predicts costs; None for no limits.
        """
        purposes = ("adapt", "query", "weights", "random")
        keys = dict(zip(purposes, jax.random.split(key, len(purposes)), strict=True))
        objectives, learner = self.objectives, self.learner
        mixed = objectives.mixed(episode, jnp.float32(self.temperature), 1.0, price)
        steps = learner.inner_steps
        adapted = adapt(learner.inner(), start, mixed, keys["adapt"], steps).learned
        chosen, unrepaired = self._chosen(adapted, field, price)
        fixed, _ = self._chosen(start, field, price)
        odds = jnp.where(field.fits, 0.0, -jnp.inf)
        number = jax.random.categorical(keys["random"], odds)
        drawn = jnp.take(field.architectures, number, axis=0)

        def own_weights(architecture):
            task = objectives.fixed(episode, architecture)
            inner = learner.inner(weights_only=True)
            found = adapt(inner, start, task, keys["weights"], steps).learned
            return self._metric(found, task, keys)

        anew, own, other = jax.lax.map(own_weights, jnp.stack([chosen, fixed, drawn]))
        cost = jnp.zeros(())
        if price is not None:
            row = jax.nn.one_hot(chosen, objectives.mask.shape[1])
            metrics = tuple(price.limits)
            cost = bound_of(price.cost_model, metrics, objectives.deviations)(row)[metrics[0]]
        return Judged(
            mixed=self._metric(adapted, mixed, keys),
            adapted=self._metric(adapted, objectives.fixed(episode, chosen), keys),
            anew=anew,
            fixed=own,
            random=other,
            unrepaired=unrepaired.astype(jnp.float32),
            cost=cost,
        )

    def _metric(self, learned: Learned, task: MetaTask, keys: dict[str, jax.Array]) -> jax.Array:
        return task.query(learned, keys["query"])[1]

    def _chosen(self, learned, field, price):
        objectives = self.objectives
        share = objectives.relaxation.probabilities(learned.params, jnp.asarray(objectives.mask))
        return choose(share, field, self.space, objectives.budget, price, objectives.deviations)
