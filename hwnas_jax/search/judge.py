"""What the supernet says about architectures, as functions for the derivation.

Legend: `n` architectures, `D` decisions, `K` options of the widest decision, `P` weights.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hwnas_jax.config import Config
from hwnas_jax.data import Dataset
from hwnas_jax.data.pipeline import normalise
from hwnas_jax.relax.base import Gates, one_hot_gates
from hwnas_jax.search.derivation.base import Searched
from hwnas_jax.search.gradient import HALVES
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.supernet import Supernet
from hwnas_jax.tasks.base import Task, values


def searched(
    space: Space,
    dataset: Dataset,
    supernet: Supernet,
    task: Task,
    config: Config,
    halves: dict[str, np.ndarray],
    *,
    probabilities: np.ndarray,
    prior: np.ndarray,
    weights: np.ndarray,
    most_batches: int = 16,
) -> Searched:
    """Returns what a search left together with functions that ask its supernet.

    Batches are as large as in the search, since normalisation uses the statistics of each batch; a
    remainder that fills none is left out.

    Args:
      space: the search space.
      dataset: its training examples are judged and trained on.
      supernet: of the search.
      task: what was learned.
      config: `search` is read.
      halves: rows of the training data that weights and architecture learned from.
      probabilities: `float32[D, K]`.
      prior: `float32[D, K]`.
      weights: `float32[P]`.
      most_batches: batches of a half that are looked at, so that a large data set takes no longer.
    """
    size = config.search.batch_size

    def batched(half):
        rows = halves[half]
        rows = rows[: len(rows) // size * size].reshape(-1, size)[:most_batches]
        return dataset.train_inputs[rows], dataset.train_targets[rows]

    def outputs(weights, inputs, gates):
        return supernet.apply(weights, normalise(inputs, dataset.mean, dataset.std), gates)

    def judged(weights, gates: Gates, data):
        def one(batch):
            inputs, targets = batch
            found = outputs(weights, inputs, gates)
            return task.loss(found, targets), task.sums(found, targets)

        losses, sums = jax.lax.map(one, data)
        return {"loss": losses.mean(), **values(jax.tree.map(lambda leaf: leaf.sum(), sums))}

    def each(gates_of: Callable[[jax.Array], Gates]):
        @jax.jit
        def judge(weights, several, data):
            return jax.lax.map(lambda one: judged(weights, gates_of(one), data), several)

        def on_host(weights, several):
            found = judge(weights, jnp.asarray(several), batched(HALVES[1]))
            return {name: np.asarray(values) for name, values in found.items()}

        return on_host

    settings = config.search.weights
    optimizer = optax.chain(
        optax.clip_by_global_norm(settings.clip_norm),
        optax.sgd(settings.learning_rate / 10, momentum=0.9, nesterov=True),
    )

    @jax.jit
    def train_on(weights, gates, numbers, data):
        def step(carry, number):
            weights, state = carry
            inputs, targets = jax.tree.map(lambda leaf: leaf[number], data)

            def loss(weights):
                return task.loss(outputs(weights, inputs, Gates(gates)), targets)

            updates, state = optimizer.update(jax.grad(loss)(weights), state)
            return (optax.apply_updates(weights, updates), state), None

        return jax.lax.scan(step, (weights, optimizer.init(weights)), numbers)[0][0]

    def tune(weights, gates, steps):
        data = batched(HALVES[0])
        numbers = jnp.arange(steps) % len(data[0])
        return np.asarray(train_on(weights, jnp.asarray(gates), numbers, data))

    return Searched(
        probabilities=probabilities,
        prior=prior,
        weights=weights,
        judge=each(lambda one: one_hot_gates(one, space.num_options, sampled=True)),
        judge_mixed=each(Gates),
        tune=tune,
        metric=task.metric,
        higher_is_better=task.higher_is_better,
    )
