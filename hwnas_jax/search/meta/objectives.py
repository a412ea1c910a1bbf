"""Tasks made of episodes: what a supernet loses on the support and on the query of each.

A network that is adapted with a budget learns an architecture for the task and for a device at
once: the costs enter the loss of every inner step, and the budget's multipliers move from step to
step, as they do in a search.

The supernet normalises by the statistics of the batch that it is given, so all queries of an
episode are judged together, as in the papers whose methods stand here.

Legend: `B` examples, `D` decisions, `K` options.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.budgets.base import Budget, Costs
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.data.episodes import Episode
from hwnas_jax.relax.base import Gates, Relaxation, one_hot_gates
from hwnas_jax.search.meta.base import Learned, MetaTask
from hwnas_jax.search.priced import priced
from hwnas_jax.spaces.core.supernet import Supernet
from hwnas_jax.tasks.base import Task


class Price(NamedTuple):
    """What the networks of a task may cost.

    Attributes:
      cost_model: predicts the costs.
      limits: `{metric: float32[]}`, that of the budget first.
      counts: `bool[]`, whether the limits hold at all; one compiled program can then adapt with and
        without a budget.
    """

    cost_model: CostModel
    limits: Costs
    counts: jax.Array | bool = True


@dataclasses.dataclass(frozen=True, eq=False)
class Objectives:
    """What tasks are made of.

    Attributes:
      supernet: of the space, with an output for each class of an episode.
      mask: `bool[D, K]` of the space.
      task: what is learned.
      relaxation: how a choice becomes differentiable; its parameters are logits.
      budget: how costs enter the inner loss.
      samples: architectures drawn where an expected cost needs draws.
      deviations: standard deviations above the prediction that the budget is held against.
    """

    supernet: Supernet
    mask: np.ndarray
    task: Task
    relaxation: Relaxation
    budget: Budget
    samples: int = 8
    deviations: float = 0.0

    def mixed(
        self,
        episode: Episode,
        temperature: jax.Array,
        progress: jax.Array | float = 1.0,
        price: Price | None = None,
    ) -> MetaTask:
        """Returns the task in which weights and architecture are adapted.

        Args:
          episode: support and query.
          temperature: `float32[]` of the gates.
          progress: `float32[]`, share of the learning that is done, for the relaxation's penalty.
          price: adds what a budget makes of the costs to the inner loss.
        """
        mask, relaxation = jnp.asarray(self.mask), self.relaxation

        def gates(learned, key):
            return relaxation.sample(key, learned.params, mask, temperature)

        def support(learned, key, memory):
            gate_key, cost_key = jax.random.split(key)
            loss = self._loss(learned, gates(learned, gate_key), episode, support=True)[0]
            loss += relaxation.penalty(learned.params, mask, jnp.asarray(progress))
            if price is None:
                return loss, memory
            share = relaxation.probabilities(learned.params, mask)
            total, (_, excess) = priced(
                loss, share, cost_key, self.budget, memory, price.cost_model,
                samples=self.samples, deviations=self.deviations,
            )  # fmt: skip
            memory = self.budget.update(jax.lax.stop_gradient(excess), memory)
            return jnp.where(price.counts, total, loss), memory

        def query(learned, key):
            return self._loss(learned, gates(learned, key), episode, support=False)

        memory = () if price is None else self.budget.init(price.limits)
        return MetaTask(support, query, memory)

    def fixed(self, episode: Episode, architecture: jax.Array) -> MetaTask:
        """Returns the task in which the weights of one architecture (`int32[D]`) are adapted."""
        gates = one_hot_gates(architecture, self.mask.shape[1], sampled=True)

        def support(learned, key, memory):
            del key
            return self._loss(learned, gates, episode, support=True)[0], memory

        def query(learned, key):
            del key
            return self._loss(learned, gates, episode, support=False)

        return MetaTask(support, query)

    def _loss(
        self, learned: Learned, gates: Gates, episode: Episode, *, support: bool
    ) -> tuple[jax.Array, jax.Array]:
        inputs, targets = episode[:2] if support else episode[2:]
        outputs = self.supernet.apply(learned.weights, inputs, gates)
        return self.task.loss(outputs, targets), self.task.value(outputs, targets)
