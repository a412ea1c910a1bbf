"""Training one fixed network from scratch, and testing it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
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
from hwnas_jax.data.pipeline import Sampler, augment, holdout, normalise
from hwnas_jax.data.stream import Stream
from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract, flat_form, weight_rngs
from hwnas_jax.nn.precision import cast, compute_dtype
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.accumulate import mean_over_micro_batches
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.parallel.replicas import AXIS, Replicas, mean_over_replicas, own_slice
from hwnas_jax.runs.checkpoint import Checkpoints
from hwnas_jax.runs.loop import MetricsLog, run_steps, steps_per_dispatch
from hwnas_jax.train.optimizers import make_weight_optimizer

Build = Callable[[nnx.Rngs], nnx.Module]


class TrainState(NamedTuple):
    """What is carried and checkpointed: `P` weights and `S` running statistics, one vector each."""

    step: jax.Array
    key: jax.Array
    weights: jax.Array
    statistics: jax.Array
    optimizer: Any


class TrainInfo(NamedTuple):
    """What is reported of a step; every leaf is `float32[]`."""

    loss: jax.Array
    accuracy: jax.Array
    grad_norm: jax.Array


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
      network: in evaluation mode.
      validation_accuracy: on the held-out share of the training data, in [0, 1].
      test_accuracy: on the test data, in [0, 1].
    """

    network: nnx.Module
    validation_accuracy: float
    test_accuracy: float


def train(
    build: Build,
    dataset: Dataset,
    config: Config,
    *,
    label: str = "network",
    seed: int = 0,
    folder: Path | None = None,
    from_step: int | None = None,
    progress: Progress = quiet,
) -> Trained:
    """Trains a network from scratch, with a one-cycle cosine schedule.

    Args:
      build: makes the network from random keys; any NNX module `[B, H, W, C] -> [B, classes]`
        with `nnx.Param` weights and `nnx.BatchStat` statistics.
      dataset: trained on all but the held-out share of its training images.
      config: the experiment; `retrain`, `data` and `parallel` are read.
      label: names the network in log lines and messages.
      seed: for weights, batches and augmentation.
      folder: takes `checkpoints/<label>/` and `metrics.jsonl`; a checkpoint there is continued.
      from_step: the checkpoint to continue from; None takes the newest.
      progress: reports steps done.

    Raises:
      UserError: for a batch that does not divide, a damaged checkpoint, a loss not finite.
      Interrupted: when a stop was asked for; the state is on disk.
    """
    settings = config.retrain
    replicas = Replicas.from_config(config.parallel)
    replicas.check_batch(settings.batch_size, "retrain.batch_size", settings.accumulate)
    rows, held_out = holdout(dataset.train_targets, settings.validation_fraction, config.seed)
    per_epoch = len(rows) // settings.batch_size
    if per_epoch == 0:
        raise UserError(
            f"retrain.batch_size = {settings.batch_size} exceeds the {len(rows)} training images"
        )
    dtype = compute_dtype(settings.dtype, "retrain.dtype")
    total = per_epoch * settings.epochs
    length = steps_per_dispatch(total, settings.steps_per_dispatch)

    def split(rngs):
        return nnx.split(build(rngs), nnx.Param, nnx.BatchStat)

    graph, *shapes = abstract(split)
    unravel_weights, unravel_statistics = (flat_form(part)[1] for part in shapes)
    schedule = _schedule(settings.learning_rate, total)
    optimizer = make_weight_optimizer(
        settings.optimizer, schedule, weight_decay=settings.weight_decay
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

    def step(state, images, labels, keys):
        progress = state.step / total

        def objective(weights, images, labels, keys):
            network = merge(weights, state.statistics, dtype)
            network.train()
            heads = run_in_training(network, images.astype(dtype), keys, progress)
            losses = [factor * _cross_entropy(logits, labels) for factor, logits in heads]
            loss = jnp.stack(losses).sum()
            scores = heads[0][1]
            statistics = ravel_pytree(nnx.state(network, nnx.BatchStat))[0]
            return loss, (jnp.mean(jnp.argmax(scores, -1) == labels), statistics)

        def gradients(*batch):
            return jax.value_and_grad(objective, has_aux=True)(state.weights, *batch)

        (loss, (accuracy, statistics)), gradient = mean_over_micro_batches(
            gradients, settings.accumulate, images, labels, keys
        )
        loss, accuracy, statistics, gradient = mean_over_replicas(
            (loss, accuracy, statistics, gradient), AXIS
        )
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.weights)
        state = TrainState(
            state.step + 1, state.key, optax.apply_updates(state.weights, updates), statistics,
            optimizer_state,
        )  # fmt: skip
        return state, TrainInfo(loss, accuracy, optax.tree.norm(gradient))

    sampler = Sampler(len(rows), settings.batch_size, length)

    def dispatch(state, data):
        first_step, streamed = state.step, "batches" in data
        orders = None if streamed else sampler.orders(state.key, first_step)

        def one(state, given):
            keys = jax.random.split(jax.random.fold_in(state.key, state.step), settings.batch_size)
            if streamed:
                keys, (images, labels) = own_slice(keys, AXIS), given["train"]
            else:
                chosen = jnp.take(data["rows"], sampler.indices(orders, first_step, state.step))
                chosen, keys = own_slice((chosen, keys), AXIS)
                images, labels = data["images"][chosen], data["labels"][chosen]
            images = augment(keys, images, shift=config.data.shift, flip=config.data.flip)
            return step(state, normalise(images, data["mean"], data["std"]), labels, keys)

        return jax.lax.scan(one, state, data.get("batches"), length=length)

    checkpoints = log = None
    if folder is not None:
        checkpoints = Checkpoints(folder / "checkpoints" / label, keep=1)
        if distributed.is_first():
            log = MetricsLog(folder / "metrics.jsonl", stage="retrain", network=label)
    own_data = replicas.streams(config.data.resident)
    data: Any = {
        "images": dataset.train_inputs, "labels": dataset.train_targets, "rows": rows,
        "mean": dataset.mean, "std": dataset.std,
    }  # fmt: skip
    if own_data:
        data = Stream(
            dataset, lambda key, first: {"train": sampler.batches(key, first)},
            {"train": rows}, replicas,
        )  # fmt: skip
    else:
        data = replicas.share(data)
    try:
        state = run_steps(
            replicas.compile(dispatch, own_data=own_data), init(jax.random.key(seed)), data,
            total=total, per_dispatch=length, replicas=replicas, describe=f"retrain {label}",
            helps=memory_help("retrain", settings),
            checkpoints=checkpoints, checkpoint_every=max(1, total // 4), from_step=from_step,
            log=log, progress=progress,
        )  # fmt: skip
    finally:
        if checkpoints is not None:
            checkpoints.close()
    network = merge(state.weights, state.statistics)
    network.eval()
    predict = make_predict(network, dataset)
    return Trained(
        network,
        accuracy_of(predict, dataset.train_inputs[held_out], dataset.train_targets[held_out]),
        accuracy_of(predict, dataset.test_inputs, dataset.test_targets),
    )


def run_in_training(
    network: nnx.Module, images: jax.Array, keys: jax.Array, progress: jax.Array
) -> tuple[tuple[float, jax.Array], ...]:
    """Returns the logits a network is trained by, each with the factor of its loss.

    Args:
      network: in training mode; asked for `in_training`, as `Space.network` says, where it has it.
      images: `[B, H, W, C]`.
      keys: random keys `[B]`.
      progress: `float32[]`, share of the training that is done.
    """
    own = getattr(network, "in_training", None)
    if own is None:
        return ((1.0, network(images)),)
    # The augmentation split the same keys in two, which is folding in 0 and 1.
    return own(images, jax.vmap(jax.random.fold_in, (0, None))(keys, 2), progress)


def make_predict(network: nnx.Module, dataset: Dataset) -> Callable[[np.ndarray], jax.Array]:
    """Returns `uint8[B, H, W, C] -> logits[B, classes]`, normalised as in training and jitted."""
    graph, state = nnx.split(network)

    @jax.jit
    def predict(state, images):
        return nnx.merge(graph, state)(normalise(images, dataset.mean, dataset.std))

    return lambda images: predict(state, images)


def accuracy_of(
    predict: Callable[[np.ndarray], jax.Array],
    images: np.ndarray,
    labels: np.ndarray,
    *,
    batch_size: int = 500,
) -> float:
    """Returns the share of images predicted right, in [0, 1]."""
    batch_size = min(batch_size, len(images))
    right = 0
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        padded = np.concatenate([part, images[: batch_size - len(part)]])
        found = np.asarray(jnp.argmax(predict(padded), -1))[: len(part)]
        right += int((found == labels[start : start + batch_size]).sum())
    return right / len(images)


def _cross_entropy(logits, labels):
    logits = logits.astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _schedule(peak: float, total: int) -> optax.Schedule:
    return optax.warmup_cosine_decay_schedule(
        0.0, peak, max(1, total // 10), total, end_value=peak * 1e-3
    )
