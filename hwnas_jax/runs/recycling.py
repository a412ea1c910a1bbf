"""What the retraining of a run takes from another run: first weights, and a teacher.

Both come from the selected network of a finished run. That run is opened only where a training has
steps to take, so a run whose networks are trained needs the other no longer.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree

from hwnas_jax.config import Config
from hwnas_jax.data import Dataset
from hwnas_jax.errors import UserError
from hwnas_jax.runs.checkpoint import steps_on_disk
from hwnas_jax.runs.parts import RunParts
from hwnas_jax.spaces.base import Space
from hwnas_jax.tasks import Task
from hwnas_jax.train.net2net.grow import Grown, check_family, recycle
from hwnas_jax.train.teacher import Teacher
from hwnas_jax.train.training import Begin, TrainState


class Known(NamedTuple):
    """A trained network of a finished run.

    Attributes:
      network: in evaluation mode.
      space: what it was built in.
      architecture: its options, `int32[D]`.
      called: its label and its run, for messages.
    """

    network: nnx.Module
    space: Space
    architecture: np.ndarray
    called: str


def check_recycling(
    kind: type[RunParts], config: Config, space: Space, task: Task, data: Dataset
) -> None:
    """Refuses other runs that a retraining cannot begin with or learn from.

    Args:
      kind: opens the other runs; a class that has their stages.
      config: `retrain` names them.
      space: of the networks that are retrained.
      task: what they learn.
      data: what they learn it from.

    Raises:
      UserError: for a run without a trained network, of another family or shape, or of another
        task.
    """
    if config.retrain.start_from is not None:
        other = opened(kind, config.retrain.start_from, "retrain.start_from")
        check_family(other.space, space, f"retrain.start_from = {config.retrain.start_from}")
    if config.retrain.teacher is not None:
        _check_teacher(opened(kind, config.retrain.teacher, "retrain.teacher"), space, task, data)


def _check_teacher(other: RunParts, space: Space, task: Task, data: Dataset) -> None:
    where = f"retrain.teacher = {other.folder}"
    if other.task.name != task.name:
        raise UserError(
            f"{where} has learned {other.task.name}, and this network learns {task.name}; the "
            "tasks must be the same"
        )
    theirs, ours = (
        f"inputs {each.dtype}{list(each.shape[1:])} and outputs {list(of.output_shape)}"
        for each, of in ((other.dataset.train_inputs, other.space), (data.train_inputs, space))
    )
    if theirs != ours:
        raise UserError(
            f"{where} has {theirs}, and this network has {ours}; a teacher's must be the same, "
            "whatever its search space and size"
        )


def opened(kind: type[RunParts], folder: str, option: str) -> Any:
    """Returns another run.

    Args:
      kind: a class that has the stages.
      folder: of the other run.
      option: that names it, for messages.

    Raises:
      UserError: when it is no run folder, or has no trained network.
    """
    try:
        other = kind.open(Path(folder))
    except UserError as error:
        raise UserError(f"{option}: {error}") from error
    if not other.finished("retrain"):
        raise UserError(
            f"{option}: {other.folder} has no trained network yet; {other.goes_on}, or name a "
            "finished run"
        )
    return other


def known_network(other: Any) -> Known:
    """Returns the selected network of a run that `opened` returned."""
    entry = other.network()
    architecture = other.space.from_names(entry["architecture"])
    called = f"{entry['label']} of {other.folder}"
    return Known(other.trained().network, other.space, architecture, called)


def teacher_of(other: Any) -> Teacher:
    """Returns the selected network of a run as a teacher."""
    data = other.dataset
    return Teacher(other.trained().network, other.task, data.mean, data.std)


def begin_with(
    known: Known, space: Space, architecture: np.ndarray, seed: int
) -> tuple[Begin, str]:
    """Returns what makes a training begin with the weights of a network, and a sentence on it.

    Args:
      known: the network.
      space: of the network that is trained.
      architecture: `int32[D]` of that.
      seed: of what is drawn.
    """
    grown = recycle(*known[:3], space, architecture, seed=seed)
    weights, statistics = (
        jnp.asarray(ravel_pytree(nnx.state(grown.network, kind))[0])
        for kind in (nnx.Param, nnx.BatchStat)
    )

    def begin(state: TrainState) -> TrainState:
        return state._replace(weights=weights, statistics=statistics)

    return begin, _in_words(grown, known.called)


def taken_over(
    kind: type[RunParts], config: Config, space: Space, architecture: np.ndarray, task: Task,
    data: Dataset,
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """Returns what the training of a network that belongs to no run takes from other runs.

    Args:
      kind: as in `check_recycling`.
      config: `retrain` names the runs; `seed` is read.
      space: of the network.
      architecture: `int32[D]`.
      task: what it learns.
      data: what it learns it from.

    Returns:
      Arguments of `hwnas_jax.runs.retrain.train`, and a sentence on them.

    Raises:
      UserError: as `check_recycling`.
    """
    check_recycling(kind, config, space, task, data)
    taken: dict[str, Any] = {}
    said = ""
    if config.retrain.start_from is not None:
        known = known_network(opened(kind, config.retrain.start_from, "retrain.start_from"))
        taken["begin"], said = begin_with(known, space, architecture, config.seed)
    if config.retrain.teacher is not None:
        teacher = teacher_of(opened(kind, config.retrain.teacher, "retrain.teacher"))
        taken["teacher"] = lambda: teacher
    return taken, said


def _in_words(grown: Grown, called: str) -> str:
    if grown.differs is None:
        return f"begins as what {called} computes"
    return (
        f"begins with {grown.taken:.0%} of the weights of {called}, and not as what it computes: "
        f"{grown.differs}"
    ).replace("%", " %")


class Recycling(RunParts):
    """A run whose retraining may take something from another run."""

    @functools.cached_property
    def _known(self) -> Known:
        folder = self.config.retrain.start_from
        assert folder is not None
        return known_network(opened(type(self), folder, "retrain.start_from"))

    @functools.cached_property
    def _teacher(self) -> Teacher:
        folder = self.config.retrain.teacher
        assert folder is not None
        other = opened(type(self), folder, "retrain.teacher")
        _check_teacher(other, self.space, self.task, self.dataset)
        return teacher_of(other)

    def recycled(self, label: str, architecture: np.ndarray, seed: int) -> dict[str, Any]:
        """Returns the arguments of `hwnas_jax.runs.retrain.train` that take something over.

        Args:
          label: of the network that is trained.
          architecture: `int32[D]`.
          seed: of its training.
        """
        taken: dict[str, Any] = {}
        begun = steps_on_disk(self.folder / "checkpoints" / label)
        if self.config.retrain.start_from is not None and not begun:
            taken["begin"], said = begin_with(self._known, self.space, architecture, seed)
            self.display.say(f"{label} {said}")
        if self.config.retrain.teacher is not None:
            taken["teacher"] = lambda: self._teacher
        return taken
