"""Training one fixed network from scratch, and testing it.

Legend: `B` batch, `N` examples, `O` outputs, `P` weights, `S` running statistics.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree

from hwnas_jax.compile.ahead import memory_help
from hwnas_jax.config import Config
from hwnas_jax.data import Dataset
from hwnas_jax.data.batches import Batch, Batches
from hwnas_jax.data.pipeline import holdout, normalise
from hwnas_jax.errors import UserError
from hwnas_jax.nn.in_training import InTraining
from hwnas_jax.nn.initialisation import abstract, flat_form, weight_rngs
from hwnas_jax.nn.precision import cast, compute_dtype
from hwnas_jax.parallel.accumulate import mean_over_micro_batches
from hwnas_jax.parallel.base import Experiment, steps_per_dispatch
from hwnas_jax.parallel.replicas import AXIS, mean_over_replicas
from hwnas_jax.tasks.base import Task
from hwnas_jax.train.curriculum import Curriculum, check_curriculum
from hwnas_jax.train.examples import Examples, take_examples
from hwnas_jax.train.optimizers import make_weight_optimizer
from hwnas_jax.train.teacher import Teacher

Build = Callable[[nnx.Rngs], nnx.Module]
Begin = Callable[["TrainState"], "TrainState"]


class TrainState(NamedTuple):
    """What is carried and checkpointed: `P` weights and `S` running statistics, one vector each."""

    step: jax.Array
    key: jax.Array
    weights: jax.Array
    statistics: jax.Array
    optimizer: Any


class TrainInfo(NamedTuple):
    """What is reported of a step; every leaf is `float32[]`. The metric is the task's primary."""

    loss: jax.Array
    metric: jax.Array
    grad_norm: jax.Array


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
      network: in evaluation mode.
      validation_metric: the task's primary metric on the held-out share of the training data.
      test_metric: the same on the test data.
      test_right: `bool[N]`, which test examples are right; None where the metric is no share of
        right examples.
      test_metrics: all metrics of the task on the test data, by name.
      examples: a few test examples for each task, of which there is mostly one; None where a
        task does not say what outputs mean.
    """

    network: nnx.Module
    validation_metric: float
    test_metric: float
    test_right: np.ndarray | None
    test_metrics: dict[str, float]
    examples: tuple[Examples | None, ...]


@dataclasses.dataclass(frozen=True)
class Training:
    """A training as an experiment, and what its final state is worth.

    Attributes:
      experiment: runs it.
      finish: from the final state to the trained network, tested.
    """

    experiment: Experiment
    finish: Callable[[TrainState], Trained]


def make_training(
    build: Build,
    dataset: Dataset,
    task: Task,
    config: Config,
    *,
    label: str = "network",
    seed: int = 0,
    streams: bool = False,
    begin: Begin = lambda state: state,
    teacher: Callable[[], Teacher] | None = None,
) -> Training:
    """Prepares a training from scratch, with a one-cycle cosine schedule.

    Args:
      build: makes the network from random keys; any NNX module `[B, ...] -> [B, O]` with
        `nnx.Param` weights and `nnx.BatchStat` statistics.
      dataset: trained on all but the held-out share of its training examples.
      task: what is learned.
      config: the experiment; `retrain` and `data` are read.
      label: names the network in log lines, messages and the folder of its checkpoints.
      seed: for weights, batches and augmentation.
      streams: whether each replica gets data of its own.
      begin: changes the state that the training begins with.
      teacher: returns the network that is imitated; asked only if there are steps to take.

    Raises:
      UserError: for a batch larger than the data, or a type that is not there.
    """
    settings = config.retrain
    rows, held_out = holdout(dataset.train_targets, settings.validation_fraction, config.seed)
    per_epoch = len(rows) // settings.batch_size
    if per_epoch == 0:
        raise UserError(
            f"retrain.batch_size = {settings.batch_size} exceeds the {len(rows)} training examples"
        )
    dtype = compute_dtype(settings.dtype, "retrain.dtype")
    total = per_epoch * settings.epochs
    length = steps_per_dispatch(total, settings.steps_per_dispatch)
    check_curriculum(build, settings, dataset.input_shape)
    curriculum = Curriculum.of(settings, total)

    def split(rngs):
        return nnx.split(build(rngs), nnx.Param, nnx.BatchStat)

    graph, *shapes = abstract(split)
    unravel_weights, unravel_statistics = (flat_form(part)[1] for part in shapes)
    optimizer = make_weight_optimizer(
        settings.optimizer,
        _schedule(settings.learning_rate, total),
        weight_decay=settings.weight_decay,
    )

    @jax.jit
    def init(key):
        run_key, weight_key = jax.random.split(key)
        _, weights, statistics = split(weight_rngs(weight_key))
        weights = ravel_pytree(weights)[0]
        return TrainState(
            jnp.zeros((), jnp.int32), run_key, weights, ravel_pytree(statistics)[0],
            optimizer.init(weights),
        )  # fmt: skip

    def merge(weights, statistics, dtype=jnp.float32):
        weights = cast(unravel_weights(weights), dtype)
        return nnx.merge(graph, weights, unravel_statistics(statistics))

    def loss_of(outputs, targets, said):
        """Returns the loss of one output, shared between the targets and the teacher."""
        loss = task.loss(outputs, targets)
        if said is None:
            return loss
        share = settings.teacher_weight
        distance = task.distillation(outputs, said, settings.teacher_temperature)
        return (1 - share) * loss + share * distance

    def step(state: TrainState, drawn: dict[str, Batch], data: Any):
        progress = state.step / total

        def objective(weights, small, inputs, targets, keys):
            network = merge(weights, state.statistics, dtype)
            network.train()
            heads = run_in_training(network, small(inputs).astype(dtype), keys, progress)
            said = None
            if teacher is not None:
                where = data["mean"], data["std"]
                said = teacher().outputs(data["teacher"], inputs, *where, task)
            losses = [
                factor * loss_of(out.astype(jnp.float32), targets, said) for factor, out in heads
            ]
            loss = jnp.stack(losses).sum()
            metric = task.value(heads[0][1].astype(jnp.float32), targets)
            return loss, (metric, ravel_pytree(nnx.state(network, nnx.BatchStat))[0])

        def gradients(small, *batch):
            return jax.value_and_grad(objective, has_aux=True)(state.weights, small, *batch)

        def of_stage(small):
            return mean_over_micro_batches(
                functools.partial(gradients, small), settings.accumulate, *drawn["train"]
            )

        (loss, (metric, statistics)), gradient = mean_over_replicas(
            curriculum.run(state.step, of_stage), AXIS
        )
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.weights)
        state = TrainState(
            state.step + 1, state.key, optax.apply_updates(state.weights, updates), statistics,
            optimizer_state,
        )  # fmt: skip
        return state, TrainInfo(loss, metric, optax.tree.norm(gradient))

    batches = Batches(dataset, config.data, {"train": rows}, settings.batch_size, length)
    experiment = Experiment(
        name=label,
        describe=f"retrain {label}",
        init=lambda: begin(init(jax.random.key(seed))),
        dispatch=batches.scan(step, AXIS),
        data=batches,
        total=total,
        per_dispatch=length,
        streams=streams,
        checkpoint_every=max(1, total // 4),
        keep=1,
        log={"stage": "retrain", "network": label},
        inputs=lambda step, read_state: {} if teacher is None else {"teacher": teacher().state},
        helps=memory_help("retrain", settings),
    )

    def finish(state: TrainState) -> Trained:
        network = merge(state.weights, state.statistics)
        network.eval()
        predict = make_predict(network, dataset)
        outputs = outputs_of(predict, dataset.train_inputs[held_out])
        validation = float(task.value(outputs, jnp.asarray(dataset.train_targets[held_out])))
        outputs, targets = outputs_of(predict, dataset.test_inputs), dataset.test_targets
        tested = {
            name: float(value)
            for name, value in task.metrics(task.sums(outputs, jnp.asarray(targets))).items()
        }
        return Trained(
            network=network,
            validation_metric=validation,
            test_metric=tested[task.metric],
            test_right=task.right(outputs, jnp.asarray(targets)),
            test_metrics=tested | task.final(np.asarray(outputs), targets),
            examples=tuple(
                take_examples(each, dataset.test_inputs, jnp.asarray(said), np.asarray(true))
                for each, said, true in task.apart(outputs, targets)
            ),
        )

    return Training(experiment, finish)


def run_in_training(
    network: nnx.Module, inputs: jax.Array, keys: jax.Array, progress: jax.Array
) -> tuple[tuple[float, jax.Array], ...]:
    """Returns the outputs a network is trained by, each with the factor of its loss.

    Args:
      network: in training mode.
      inputs: `[B, ...]`.
      keys: random keys `[B]`.
      progress: `float32[]`, share of the training that is done.
    """
    if not isinstance(network, InTraining):
        return ((1.0, network(inputs)),)
    # The augmentation split the same keys in two, as folding in 0 and 1 does.
    own_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, 2)
    return network.in_training(inputs, own_keys, progress)


def make_predict(network: nnx.Module, dataset: Dataset) -> Callable[[np.ndarray], jax.Array]:
    """Returns `inputs -> outputs[B, O]`, normalised as in training and jitted."""
    graph, state = nnx.split(network)

    @jax.jit
    def predict(state, inputs):
        return nnx.merge(graph, state)(normalise(inputs, dataset.mean, dataset.std))

    return lambda inputs: predict(state, inputs)


def outputs_of(
    predict: Callable[[np.ndarray], jax.Array], inputs: np.ndarray, *, batch_size: int = 500
) -> jax.Array:
    """Returns a network's outputs for all of `inputs`, `[N, O]`.

    Args:
      predict: `inputs -> outputs[B, O]`.
      inputs: `[N, ...]`.
      batch_size: examples predicted at once.
    """
    batch_size = min(batch_size, len(inputs))
    outputs = []
    for start in range(0, len(inputs), batch_size):
        part = inputs[start : start + batch_size]
        padded = np.concatenate([part, inputs[: batch_size - len(part)]])
        outputs.append(np.asarray(predict(padded))[: len(part)])
    return jnp.asarray(np.concatenate(outputs))


def _schedule(peak: float, total: int) -> optax.Schedule:
    # A training of a single step takes it at the peak.
    warmup = min(max(1, total // 10), total - 1)
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, total, end_value=peak * 1e-3)
