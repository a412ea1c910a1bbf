"""Several tasks at once, learned by one network with a head for each.

Legend: `B` batch, `N` examples, `K` tasks, `T` numbers in all targets of an example.
"""

import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt

from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.together import TargetPart, unpack
from hwnas_jax.errors import UserError, choose
from hwnas_jax.nn.outputs import Output
from hwnas_jax.registry import Options, Part
from hwnas_jax.tasks.base import TASKS, Sums, Task, check_positions, values


class Learned(NamedTuple):
    """One of several tasks.

    Attributes:
      part: what its targets are.
      task: what is learned.
      shape: of a network's output for one example.
      chance: its primary metric without looking at the input, on the training targets.
    """

    part: TargetPart
    task: Task
    shape: tuple[int, ...]
    chance: float = 0.0

    @property
    def best(self) -> float:
        """The best value that its primary metric can have."""
        return 1.0 if self.task.higher_is_better else 0.0


@TASKS.add
@dataclasses.dataclass(frozen=True)
class Several(Task):
    """The tasks of a data set with several targets; targets are `float32[N, T]`.

    The skill in a task is 0 at the chance level of its primary metric on the training targets, and
    1 at the best value that the metric can have. The metric of several tasks is their mean skill.

    Losses are weighted by uncertainty or by hand. By uncertainty, the loss of a task is
    `exp(-s) * loss + s / 2`, with `s` the learned logarithm of its variance that stands at the end
    of the outputs, and half the loss where values are learned and not classes (Kendall et al.,
    "Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018).
    """

    name = "several"
    summary = "several tasks at once, with a head for each: mean skill, 0 at chance and 1 at best"
    metric = "skill"
    unit = ""

    weights: Literal["uncertainty", "equal"] | dict[str, Annotated[float, Gt(0)]] = (
        dataclasses.field(default="uncertainty", hash=False)
    )
    """how losses are weighted: by learned uncertainties, equally, or by hand: {"objects": 2.0};
    tasks that are left out weigh 1"""
    args: dict[str, Options] = dataclasses.field(default_factory=dict, hash=False)
    """options of the tasks by their names: {"masks": {"class_weights": "balanced"}}"""
    learned: tuple[Learned, ...] = dataclasses.field(default=(), init=False)

    def of(self, dataset: Dataset) -> "Several":
        """Returns the task with those of the data set.

        Raises:
          UserError: when the data set has one task only, or an option is for a task that it lacks.
        """
        if not dataset.parts:
            raise UserError(
                f"task {self.name} needs a data set with the targets of several tasks, such as "
                f"scenes or hwnas_jax.data.together(...); {dataset.name} has those of one, "
                f"{dataset.task!r}"
            )
        names = [part.name for part in dataset.parts]
        for given in (self.args, self.weights if isinstance(self.weights, dict) else {}):
            for name in given:
                choose(name, names, f"task of {dataset.name}")
        made = copy.copy(self)
        learned = [self._learned(part, dataset.input_shape) for part in dataset.parts]
        object.__setattr__(made, "learned", tuple(learned))
        return made

    def _learned(self, part: TargetPart, input_shape: tuple[int, ...]) -> Learned:
        task = TASKS.make(Part(part.task, dict(self.args.get(part.name, {}))))
        outputs = task.outputs(len(part.output_names))
        return Learned(part, task, outputs[0].shape(input_shape))

    def outputs(self, num_outputs: int) -> tuple[Output, ...]:
        """Returns the outputs of all tasks, in their order."""
        del num_outputs
        return tuple(Output(each.shape[-1], each.task.dense) for each in self.learned)

    def check(self, targets: np.ndarray, num_outputs: int) -> None:
        """Refuses targets that do not fit the task that they are for."""
        total = sum(each.part.size for each in self.learned)
        if targets.ndim != 2 or targets.shape[1] != total or targets.dtype != np.float32:
            raise UserError(
                f"task {self.name} needs targets float32[N, {total}], those of "
                f"{', '.join(each.part.name for each in self.learned)} side by side; got "
                f"{targets.dtype}{list(targets.shape)}"
            )
        for each, own in self._targets(targets):
            try:
                if each.task.dense:
                    check_positions(each.task, own, each.shape)
                each.task.check(own, each.shape[-1])
            except UserError as error:
                raise UserError(f"{each.part.name}: {error}") from error

    def fit(self, targets: np.ndarray) -> "Several":
        """Returns the task with its tasks fitted, each to its own targets."""
        made, learned = copy.copy(self), []
        for each, own in self._targets(targets):
            task = each.task.fit(own)
            chance = task.chance(own, each.shape[-1])
            fitted = each._replace(task=task, chance=chance)
            if math.isclose(chance, fitted.best, abs_tol=1e-9):
                raise UserError(
                    f"{each.part.name}: the best guess that looks at no input has a "
                    f"{task.metric} of {chance:g} already; there is nothing to learn"
                )
            learned.append(fitted)
        object.__setattr__(made, "learned", tuple(learned))
        return made

    def _targets(self, targets: Any) -> Iterator[tuple[Learned, Any]]:
        parts = unpack(targets, [each.part for each in self.learned])
        return ((each, parts[each.part.name]) for each in self.learned)

    def _each(self, outputs: Any, targets: Any) -> Iterator[tuple[Learned, Any, Any]]:
        """Yields each task with its outputs and its targets."""
        pairs = zip(self._parted(outputs), self._targets(targets), strict=True)
        return ((each, out, own) for (each, out), (_, own) in pairs)

    def apart(self, outputs: Any, targets: Any) -> Iterator[tuple[Task, Any, Any]]:
        """Yields each task with its own outputs and targets, in their order."""
        return ((each.task, out, own) for each, out, own in self._each(outputs, targets))

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Returns the weighted sum of the tasks' mean losses."""
        losses = [each.task.loss(out, own) for each, out, own in self._each(outputs, targets)]
        if self.weights != "uncertainty":
            weights = [self._given_weight(each) for each in self.learned]
            return sum(
                (weight * loss for weight, loss in zip(weights, losses, strict=True)),
                jnp.zeros(()),
            )
        log_variances = outputs[:, -len(losses) :].mean(0)
        halves = [0.5 if _has_values(each.task) else 1.0 for each in self.learned]
        scaled = jnp.exp(-log_variances) * jnp.stack(losses) * jnp.array(halves)
        return (scaled + log_variances / 2).sum()

    def distillation(self, outputs: jax.Array, teacher: jax.Array, temperature: float) -> jax.Array:
        """Returns the sum of the tasks' distances, by their weights where these are given."""
        distances = [
            self._given_weight(each) * each.task.distillation(own, said, temperature)
            for (each, own), (_, said) in zip(*map(self._parted, (outputs, teacher)), strict=True)
        ]
        return jnp.stack(distances).sum()

    def as_own(self, outputs: jax.Array, other: Task) -> jax.Array:
        """Returns outputs of another fit, each part in the units of its task here."""
        theirs = cast(Several, other).learned
        parts = [
            each.task.as_own(own, before.task).reshape(len(outputs), -1)
            for (each, own), before in zip(self._parted(outputs), theirs, strict=True)
        ]
        width = sum(part.shape[1] for part in parts)
        return jnp.concatenate([*parts, outputs[:, width:]], axis=1)

    def _parted(self, outputs: Any) -> Iterator[tuple[Learned, Any]]:
        """Yields each task with its outputs."""
        first = 0
        for each in self.learned:
            last = first + math.prod(each.shape)
            yield each, outputs[:, first:last].reshape(len(outputs), *each.shape)
            first = last

    def _given_weight(self, each: Learned) -> float:
        given = self.weights if isinstance(self.weights, dict) else {}
        return given.get(each.part.name, 1.0)

    def sums(self, outputs: jax.Array, targets: jax.Array) -> Sums:
        """Returns the sums of every task's metrics, called `objects.accuracy` and so on."""
        return {
            f"{each.part.name}.{metric}": pair
            for each, out, own in self._each(outputs, targets)
            for metric, pair in each.task.sums(out, own).items()
        }

    def metrics(self, sums: Sums) -> dict[str, jax.Array]:
        """Returns the metrics of every task, and the mean skill."""
        found = values(sums)
        skills = [
            (found[f"{each.part.name}.{each.task.metric}"] - each.chance)
            / (each.best - each.chance)
            for each in self.learned
        ]
        return {**found, "skill": jnp.stack(skills).mean()}

    def chance(self, targets: np.ndarray, num_outputs: int) -> float:
        """Returns the mean skill at the chance levels of these targets; near zero."""
        del num_outputs
        return float(
            np.mean([
                (each.task.chance(own, each.shape[-1]) - each.chance) / (each.best - each.chance)
                for each, own in self._targets(targets)
            ])
        )  # fmt: skip

    def final(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Returns what each task adds when all outputs are known."""
        return {
            f"{each.part.name}.{metric}": value
            for each, out, own in self._each(outputs, targets)
            for metric, value in each.task.final(np.asarray(out), np.asarray(own)).items()
        }


def _has_values(task: Task) -> bool:
    """Returns whether a task's loss is a squared error, which is twice a log-likelihood."""
    values_of = ("regression", "dense_regression", "autoencoding")
    return task.name in values_of and getattr(task, "objective", "mse") == "mse"
