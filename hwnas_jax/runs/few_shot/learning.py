"""Learning a start, as an experiment that the loop runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.data.episodes import draw_episode
from hwnas_jax.parallel.base import Experiment, Resident, steps_per_dispatch
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.parallel.replicas import AXIS
from hwnas_jax.runs.few_shot.parts import FewShotParts
from hwnas_jax.runs.loop import run_experiment
from hwnas_jax.search.gradient import entropy_of
from hwnas_jax.search.meta.base import Learned, MetaTask
from hwnas_jax.search.meta.training import MetaState, MetaTraining, make_meta_training

NAME = "meta"


def meta_training(parts: FewShotParts) -> MetaTraining:
    """Returns the functions that learn the start of a run from episodes."""
    objectives, shape = parts.objectives, parts.train_shape

    def task_of(key, pool, temperature, progress) -> MetaTask:
        return objectives.mixed(draw_episode(key, pool, shape), temperature, progress)

    return make_meta_training(parts.learner, task_of, parts.schedule)


def begin(parts: FewShotParts) -> Learned:
    """Returns what the learning begins with: new weights, and parameters that favour nothing."""
    weights, params = jax.random.split(jax.random.key(parts.config.seed))
    objectives = parts.objectives
    return Learned(
        objectives.supernet.init(weights),
        objectives.relaxation.init(params, jnp.asarray(objectives.mask)),
    )


def make_dispatch(
    training: MetaTraining, length: int, axis_name: str | None = AXIS
) -> Callable[[MetaState, Any], tuple[MetaState, Any]]:
    """Returns `(state, data) -> (state, info)`, the steps of one compiled call."""

    def dispatch(state, data):
        def one(state, _):
            return training.step(state, data["pool"], axis_name)

        return jax.lax.scan(one, state, length=length)

    return dispatch


def learn_start(
    parts: FewShotParts, *, folder: Path | None = None, progress: Progress = quiet
) -> Learned:
    """Learns the start of a run.

    Args:
      parts: what the run is made of.
      folder: takes `checkpoints/meta/` and `metrics.jsonl`; an existing checkpoint is continued.
      progress: reports steps done.

    Raises:
      UserError: for tasks that do not divide by the devices, a damaged checkpoint, or a loss that
        is not finite.
      Interrupted: when a stop was asked for; the state is on disk.
    """
    settings, training = parts.config.few_shot, meta_training(parts)
    replicas, objectives = parts.replicas, parts.objectives
    length = steps_per_dispatch(settings.steps, settings.steps_per_dispatch)
    mask = jnp.asarray(objectives.mask)

    def extra(state: MetaState) -> dict[str, Any]:
        share = objectives.relaxation.probabilities(state.learned.params, mask)
        return {
            "entropy": float(entropy_of(share)),
            "probabilities": np.round(np.asarray(share), 5).tolist(),
        }

    experiment = Experiment(
        name=NAME,
        describe=f"{parts.learner.name} on {parts.dataset.name}",
        init=lambda: training.init(jax.random.key(parts.config.seed), begin(parts)),
        dispatch=make_dispatch(training, length),
        data=Resident({"pool": parts.train_pool}),
        total=settings.steps,
        per_dispatch=length,
        checkpoint_every=settings.checkpoint_every,
        log={"stage": NAME},
        extra=extra,
        helps="fewer tasks (few_shot.tasks), or --few-shot.within map",
    )
    return run_experiment(experiment, replicas, folder=folder, progress=progress).learned
