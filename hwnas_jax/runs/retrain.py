"""Runs the training of one network, in a run folder or without one."""

from collections.abc import Callable
from pathlib import Path

from hwnas_jax.config import Config
from hwnas_jax.data import Dataset
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.parallel.replicas import Replicas
from hwnas_jax.runs.activations import check_network
from hwnas_jax.runs.loop import run_experiment
from hwnas_jax.tasks import make_task
from hwnas_jax.train.teacher import Teacher
from hwnas_jax.train.training import Begin, Build, Trained, make_training


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
    begin: Begin = lambda state: state,
    teacher: Callable[[], Teacher] | None = None,
) -> Trained:
    """Trains a network from scratch and tests it.

    Args:
      build: makes the network from random keys, as `make_training` takes it.
      dataset: trained on all but the held-out share of its training examples.
      config: the experiment; `retrain`, `task`, `data` and `parallel` are read.
      label: names the network in log lines and messages.
      seed: for weights, batches and augmentation.
      folder: takes `checkpoints/<label>/` and `metrics.jsonl`; a checkpoint there is continued.
      from_step: the checkpoint to continue from; None takes the newest.
      progress: reports steps done.
      begin: as in `make_training`.
      teacher: as in `make_training`.

    Raises:
      UserError: for a batch that does not divide or cannot fit into memory, a damaged checkpoint, a
        loss that is not finite.
      Interrupted: when a stop was asked for; the state is on disk.
    """
    settings = config.retrain
    replicas = Replicas.from_config(config.parallel)
    replicas.check_batch(settings.batch_size, "retrain.batch_size", settings.accumulate)
    check_network(build, dataset, config, replicas, label)
    training = make_training(
        build, dataset, make_task(config.task, dataset), config,
        label=label, seed=seed, streams=replicas.streams(config.data.resident),
        begin=begin, teacher=teacher,
    )  # fmt: skip
    state = run_experiment(
        training.experiment, replicas, folder=folder, from_step=from_step, progress=progress
    )
    return training.finish(state)
