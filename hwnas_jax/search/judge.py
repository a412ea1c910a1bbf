"""What the supernet says about architectures, as functions for the derivation.

Legend: `n` architectures, `D` decisions, `K` options of the widest decision, `P` weights, `R`
batches, `B` examples of a batch.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hwnas_jax.config import SearchConfig
from hwnas_jax.data.pipeline import normalise
from hwnas_jax.relax.base import Gates, one_hot_gates
from hwnas_jax.search.derivation.base import Searched
from hwnas_jax.search.evaluators.base import Bench, Data
from hwnas_jax.search.evaluators.judging import deal, judge_path
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.supernet import Supernet
from hwnas_jax.tasks.base import Task


class Judge:
    """Asks the supernet of a space; the searches of a sweep share its compiled programs.

    Batches are as large as in the search, since normalisation uses the statistics of each batch.

    Args:
      space: the search space.
      supernet: of the search.
      task: what was learned.
      settings: batch size, and how the weights were trained.
      most_batches: batches of a half that are looked at, so that a large data set takes no longer.
    """

    def __init__(
        self,
        space: Space,
        supernet: Supernet,
        task: Task,
        settings: SearchConfig,
        *,
        most_batches: int = 16,
    ):
        self._task, self._settings, self._most = task, settings, most_batches
        bench = Bench(space, task, supernet=supernet)
        optimizer = optax.chain(
            optax.clip_by_global_norm(settings.weights.clip_norm),
            optax.sgd(settings.weights.learning_rate / 10, momentum=0.9, nesterov=True),
        )

        def judge(weights, data, rows, architectures):
            def one(architecture):
                gates = one_hot_gates(architecture, space.num_options, sampled=True)
                return judge_path(bench, weights, data, rows, gates)

            return jax.lax.map(one, architectures)

        def judge_mixed(weights, data, rows, gates):
            return jax.lax.map(
                lambda one: judge_path(bench, weights, data, rows, Gates(one)), gates
            )

        def tune(weights, data, rows, gates):
            def step(carry, rows):
                weights, state = carry
                inputs = normalise(jnp.asarray(data.inputs)[rows], data.mean, data.std)
                targets = jnp.asarray(data.targets)[rows]

                def loss(weights):
                    return task.loss(supernet.apply(weights, inputs, Gates(gates)), targets)

                updates, state = optimizer.update(jax.grad(loss)(weights), state)
                return (optax.apply_updates(weights, updates), state), None

            return jax.lax.scan(step, (weights, optimizer.init(weights)), rows)[0][0]

        self._judge, self._judge_mixed = jax.jit(judge), jax.jit(judge_mixed)
        self._tune = jax.jit(tune)

    def searched(
        self, data: Data, *, probabilities: np.ndarray, prior: np.ndarray, weights: np.ndarray,
        seed: int,
    ) -> Searched:  # fmt: skip
        """Returns what one search left together with functions that ask its supernet.

        Args:
          data: the examples, in the halves of that search.
          probabilities: `float32[D, K]`.
          prior: `float32[D, K]`.
          weights: `float32[P]`.
          seed: of the order in which examples are dealt into batches.
        """
        size, most = self._settings.batch_size, self._most
        judged = deal(np.asarray(data.arch_half), size, seed, most)

        def ask(function, several, weights):
            found = function(weights, data, judged, jnp.asarray(several))
            return {name: np.asarray(values) for name, values in found.items()}

        def tune(weights, gates, steps):
            dealt = deal(np.asarray(data.weight_half), size, seed, most)
            rows = dealt[np.arange(steps) % len(dealt)]
            return np.asarray(self._tune(weights, data, rows, jnp.asarray(gates)))

        return Searched(
            probabilities=probabilities,
            prior=prior,
            weights=weights,
            judge=lambda weights, architectures: ask(self._judge, architectures, weights),
            judge_mixed=lambda weights, gates: ask(self._judge_mixed, gates, weights),
            tune=tune,
            metric=self._task.metric,
            higher_is_better=self._task.higher_is_better,
        )
