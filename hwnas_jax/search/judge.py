"""What the supernet says about architectures, as functions for the derivation.

Legend: `n` architectures, `D` decisions, `K` options of the widest decision, `P` weights, `R`
batches, `B` examples of a batch.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hwnas_jax.config import Config
from hwnas_jax.data.pipeline import Augmentation, normalise
from hwnas_jax.parallel.progress import Progress
from hwnas_jax.parallel.replicas import Members
from hwnas_jax.relax.base import Gates, one_hot_gates
from hwnas_jax.search.derivation.base import Searched
from hwnas_jax.search.evaluators.base import Bench, Data
from hwnas_jax.search.evaluators.judging import deal, judge_path
from hwnas_jax.search.evaluators.path_training import PathTraining
from hwnas_jax.search.evaluators.side_by_side import SideBySide
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.supernet import Supernet
from hwnas_jax.tasks.base import Task

_WARM = 0.3
"""Factor on the learning rate of a training that starts from the supernet's weights."""

_TAIL = 0.2
"""Share of a training, its last steps, whose mean loss is told."""

_MORE = 4
"""How many times more batches judge a trained network than a path through the supernet."""


class Judge:
    """Asks the supernet of a space; the searches of a sweep share its compiled programs.

    Batches are as large as in the search, since normalisation uses the statistics of each batch.

    Args:
      space: the search space.
      supernet: of the search.
      task: what was learned.
      config: the experiment; `search` and `parallel` are read.
      augmentation: of the images in short trainings; none if left out.
      most_batches: batches of a half that are looked at, so that a large data set takes no longer;
        four times as many judge a network after a training of its own.
    """

    def __init__(
        self,
        space: Space,
        supernet: Supernet,
        task: Task,
        config: Config,
        *,
        augmentation: Augmentation | None = None,
        most_batches: int = 16,
    ):
        settings = config.search
        self._task, self._settings, self._most = task, settings, most_batches
        bench = Bench(
            space, task, supernet=supernet, batch_size=settings.batch_size,
            augmentation=augmentation or Augmentation(),
        )  # fmt: skip
        self._training = PathTraining.of(bench, settings.weights)
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
        devices = jax.local_devices()[: config.parallel.devices]
        self._place = Members(tuple(devices), config.parallel.backend, len(devices))
        self._side_by_side = SideBySide(self._training, self._place, settings.steps_per_dispatch)

    def searched(
        self, data: Data, *, probabilities: np.ndarray | None, prior: np.ndarray | None,
        weights: np.ndarray | None, seed: int,
    ) -> Searched:  # fmt: skip
        """Returns what one search left together with functions that ask its supernet.

        Args:
          data: the examples, in the halves of that search.
          probabilities: `float32[D, K]`; None of a strategy.
          prior: `float32[D, K]`; None of a strategy.
          weights: `float32[P]`, or None where no supernet was trained.
          seed: of the order in which examples are dealt into the batches that are judged by.
        """
        size, most = self._settings.batch_size, self._most
        half = np.asarray(data.arch_half)
        judged, more = (deal(half, size, seed, times * most) for times in (1, _MORE))

        def ask(function, several, weights):
            found = function(weights, data, judged, jnp.asarray(several))
            return {name: np.asarray(values) for name, values in found.items()}

        def tune(weights, gates, steps):
            dealt = deal(np.asarray(data.weight_half), size, seed, most)
            rows = dealt[np.arange(steps) % len(dealt)]
            return np.asarray(self._tune(weights, data, rows, jnp.asarray(gates)))

        def train(weights, networks, steps, progress, *, seed):
            networks = np.asarray(networks)
            return self._trained(data, weights, networks, steps, seed, more, progress)

        return Searched(
            probabilities=probabilities,
            prior=prior,
            weights=weights,
            judge=lambda weights, architectures: ask(self._judge, architectures, weights),
            judge_mixed=lambda weights, gates: ask(self._judge_mixed, gates, weights),
            tune=tune,
            train=train,
            metric=self._task.metric,
            higher_is_better=self._task.higher_is_better,
        )

    def _trained(
        self, data: Data, weights: np.ndarray | None, networks: np.ndarray, steps: int, seed: int,
        rows: np.ndarray, progress: Progress,
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """Trains networks, one on each device at a time, and judges them.

        Args:
          data: the examples.
          weights: `float32[P]`, where all of them start; new ones where it is None.
          networks: `int32[n, D]`.
          steps: of each training; rounded up to whole calls.
          seed: of the initial weights, the order of batches and the augmentation.
          rows: `int32[R, B]`, the examples that are judged by.
          progress: reports trainings done.
        """
        place, key, per_call = self._place, jax.random.key(seed), self._settings.steps_per_dispatch
        calls = -(-steps // per_call)
        shared = place.share(jax.tree.map(jnp.asarray, data))
        state = self._training.init(key, None if weights is None else jnp.asarray(weights))
        found: list[dict[str, np.ndarray]] = []
        for start in range(0, len(networks), place.count):
            some = networks[start : start + place.count]
            count, before = len(some), start * calls

            def on_call(call, count=count, before=before):
                progress(before + call * count, len(networks) * calls, "short trainings")

            trainees, by_step = self._side_by_side.run(
                self._side_by_side.begin(some, [key] * count, [state] * count), shared, calls,
                factor=1.0 if weights is None else _WARM, on_call=on_call,
            )  # fmt: skip
            trained = np.asarray(place.read(trainees.state.weights))
            tails = by_step[:, -math.ceil(_TAIL * by_step.shape[1]) :].mean(axis=1)
            for own, tail, network in zip(trained, tails, some, strict=False):
                told = self._judge(own, data, rows, jnp.asarray(network[None]))
                told = {name: np.asarray(values)[0] for name, values in told.items()}
                found.append(told | {"training_loss": tail})
        progress(len(networks) * calls, len(networks) * calls, "short trainings")
        return {name: np.stack([each[name] for each in found]) for name in found[0]}
