"""The outer step: many tasks pull a start, and it follows the mean.

Legend: `T` tasks of a step, over all replicas.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hwnas_jax.parallel.replicas import mean_over_replicas, own_slice
from hwnas_jax.search.meta.base import Learned, MetaLearner, MetaTask, Pull

Within = Literal["map", "batch"]
"""How a replica runs its tasks: one after another in one program, or all at once by `vmap`."""


class MetaState(NamedTuple):
    """What is carried from step to step, and checkpointed.

    Attributes:
      step: `int32[]`, outer steps taken.
      key: the run's random key; every step folds its number in.
      learned: the start.
      optimizer: Optax state of the outer steps.
    """

    step: jax.Array
    key: jax.Array
    learned: Learned
    optimizer: Any


class MetaInfo(NamedTuple):
    """What is reported of an outer step, means over its tasks; every leaf is `float32[]`.

    Attributes:
      support_loss: before the adaptation.
      query_loss: after it.
      query_metric: after it.
      temperature: of the gates.
      weight_norm: length of the mean direction of the weights.
      arch_norm: likewise of the architecture's parameters.
    """

    support_loss: jax.Array
    query_loss: jax.Array
    query_metric: jax.Array
    temperature: jax.Array
    weight_norm: jax.Array
    arch_norm: jax.Array


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long a start is learned.

    Attributes:
      steps: outer steps.
      warmup: first steps in which the architecture's parameters stay where they are.
      tasks: `T`.
      hottest: the temperature until the warm-up ends; it then falls evenly.
      coldest: the temperature at the last step.
      within: how a replica runs its tasks.
    """

    steps: int
    warmup: int
    tasks: int
    hottest: float = 1.0
    coldest: float = 0.1
    within: Within = "map"

    def progress(self, step: jax.Array) -> jax.Array:
        """Returns the share of the steps after the warm-up that are done, `float32[]`."""
        span = max(self.steps - 1 - self.warmup, 1)
        return jnp.clip((step - self.warmup) / span, 0.0, 1.0)

    def temperature(self, step: jax.Array) -> jax.Array:
        """Returns the temperature of a step, `float32[]`."""
        return self.hottest + (self.coldest - self.hottest) * self.progress(step)


class MetaTraining(NamedTuple):
    """Learning a start, as functions.

    Attributes:
      init: `(key, Learned) -> MetaState`.
      step: `(state, data, axis_name=None) -> (state, MetaInfo)`.
    """

    init: Callable[[jax.Array, Learned], MetaState]
    step: Callable[..., tuple[MetaState, MetaInfo]]


def over_tasks(function: Callable[[Any], Any], tasks: Any, within: Within) -> Any:
    """Returns the results of a function of one task, stacked; `tasks` has a leading axis."""
    return jax.vmap(function)(tasks) if within == "batch" else jax.lax.map(function, tasks)


def make_meta_training(
    learner: MetaLearner,
    task_of: Callable[[jax.Array, Any, jax.Array, jax.Array], MetaTask],
    schedule: Schedule,
) -> MetaTraining:
    """Builds the functions that learn a start.

    Each replica runs its own share of the tasks of a step. Their mean direction and everything that
    is reported are averaged over the replicas in one all-reduce.

    Args:
      learner: the method.
      task_of: `(key, data, temperature, progress) -> MetaTask`, draws a task.
      schedule: how long, and how many tasks a step has.
    """
    optimizer = learner.outer(schedule.steps)

    def init(key: jax.Array, start: Learned) -> MetaState:
        return MetaState(jnp.zeros((), jnp.int32), key, start, optimizer.init(start))

    def step(
        state: MetaState, data: Any, axis_name: str | None = None
    ) -> tuple[MetaState, MetaInfo]:
        temperature = schedule.temperature(state.step)
        progress = schedule.progress(state.step)
        freedom = (state.step >= schedule.warmup).astype(jnp.float32)
        own = jax.random.split(jax.random.fold_in(state.key, state.step), schedule.tasks)

        def one(key) -> Pull:
            task_key, pull_key = jax.random.split(key)
            task = task_of(task_key, data, temperature, progress)
            return learner.pull(pull_key, state.learned, task, freedom)

        found = over_tasks(one, own_slice(own, axis_name), schedule.within)
        mean = jax.tree.map(lambda leaf: leaf.mean(0), found)
        mean = mean_over_replicas(mean, axis_name)
        params = jax.tree.map(lambda leaf: freedom * leaf, mean.gradient.params)
        gradient = Learned(mean.gradient.weights, params)
        updates, after = optimizer.update(gradient, state.optimizer, state.learned)
        info = MetaInfo(
            mean.support_loss, mean.query_loss, mean.query_metric, temperature,
            optax.tree.norm(gradient.weights), optax.tree.norm(gradient.params),
        )  # fmt: skip
        learned = optax.apply_updates(state.learned, updates)
        return MetaState(state.step + 1, state.key, learned, after), info

    return MetaTraining(init, step)
