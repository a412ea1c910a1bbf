"""What is learned: the loss, the metrics, and the output that a network must have for them.

Legend: `B` batch, `N` examples, `O` outputs of the network, for each position where it is dense,
`H, W` height and width of the inputs.

A `Task` looks at outputs and targets alone; it knows no network and no search. Every metric that a
search can use is a ratio of two sums that add over batches and replicas, so that its value is exact
however the data are split: accuracy (right answers by answers), F1 (twice the true positives by
predicted plus actual positives), mean squared error, the share of variance explained. It may also
be the mean of such ratios, one for each of `K` classes: mean intersection over union, macro F1.
What needs all outputs at once, such as mean average precision, is returned by `final`: it is
computed once for a trained network and shown beside the primary metric.
"""

import abc
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.data.dataset import Dataset
from hwnas_jax.errors import UserError
from hwnas_jax.nn.outputs import Output, output_shape
from hwnas_jax.registry import Part, Registry
from hwnas_jax.tasks.distillation import DISTANCES

Sums = dict[str, tuple[jax.Array, jax.Array]]
"""By metric, a sum and what it is divided by: `float32[]` each, or `float32[K]` each where the
metric is the mean of `K` ratios."""


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """What a network learns.

    The fields of a subclass are its options.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
      metric: the primary metric, one of those that `sums` returns ("accuracy").
      higher_is_better: whether more of it is better.
      unit: how the metric is shown: "%" for a share in [0, 1], "" for a plain number.
      dense: whether a network puts out values for every position of its input.
      outputs_are: "values", "classes" for the logits of one class of several, or "labels" for
        logits of which each is a yes or no; says how the distance from a teacher is measured.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    metric: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "%"
    dense: ClassVar[bool] = False
    outputs_are: ClassVar[Literal["values", "classes", "labels"]] = "values"

    def outputs(self, num_outputs: int) -> tuple[Output, ...]:
        """Returns what a network must put out; by default one vector, or one for each position.

        Args:
          num_outputs: `O`: the data set's classes, labels or values.
        """
        return (Output(num_outputs, self.dense),)

    def of(self, dataset: Dataset) -> "Task":
        """Returns the task with what it must know of the data set before it looks at targets.

        Most tasks need nothing, and are returned as they are.
        """
        del dataset
        return self

    @abc.abstractmethod
    def check(self, targets: np.ndarray, num_outputs: int) -> None:
        """Raises UserError when the targets of a data set do not fit.

        Args:
          targets: `[N, ...]`, as the data set holds them.
          num_outputs: `O`: the data set's classes, labels or values.
        """

    def fit(self, targets: np.ndarray) -> "Task":
        """Returns the task with what it takes from the training targets, such as their scale.

        A task that takes nothing from them is returned as it is, as here.

        Args:
          targets: `[N, ...]`, those of the training data, which have passed `check`.
        """
        del targets
        return self

    @abc.abstractmethod
    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Returns the mean loss, `float32[]`.

        Args:
          outputs: `float32[B, O]`, or `float32[B, H, W, O]` of a dense task.
          targets: `[B, ...]`, as in the data set.
        """

    def distillation(self, outputs: jax.Array, teacher: jax.Array, temperature: float) -> jax.Array:
        """Returns how far outputs are from those of a teacher, `float32[]`.

        By default the divergence of probabilities that `DISTANCES` has for `outputs_are`, and
        for values the mean squared difference.

        Args:
          outputs: as of `loss`.
          teacher: outputs of the teacher for the same inputs, in the units of this task.
          temperature: by which logits are divided before they become probabilities.
        """
        return DISTANCES[self.outputs_are](outputs, teacher, temperature)

    def as_own(self, outputs: jax.Array, other: "Task") -> jax.Array:
        """Returns outputs of a network for another task of this kind in the units of this one.

        By default they have the same units.

        Args:
          outputs: as of the other task's `loss`.
          other: has the same name, and may have been fitted to other targets.
        """
        del other
        return outputs

    @abc.abstractmethod
    def sums(self, outputs: jax.Array, targets: jax.Array) -> Sums:
        """Returns the metrics of a batch as sums; arguments as of `loss`."""

    def metrics(self, sums: Sums) -> dict[str, jax.Array]:
        """Returns all metrics, `float32[]` each, the primary one among them.

        By default those of which there are sums.

        Args:
          sums: of one batch, or added up over batches; perhaps of more than `sums` returns.
        """
        return values(sums)

    @abc.abstractmethod
    def chance(self, targets: np.ndarray, num_outputs: int) -> float:
        """Returns the primary metric of the best guess that looks at no input.

        A dense task guesses the same map for every example. Where no formula gives the best one,
        it takes a map that is near it, and says which.

        Args:
          targets: `[N, ...]`, those that are guessed.
          num_outputs: `O`.
        """

    def final(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Returns metrics that are no ratios of sums, from all outputs on the test data at once.

        They stand beside the primary metric in the report; no search sees them. A metric that is
        undefined on these targets is left out. By default there are none.

        Args:
          outputs: `float32[N, ...]`, as of `loss`.
          targets: `[N, ...]`.
        """
        del outputs, targets
        return {}

    def predicted(self, outputs: jax.Array) -> jax.Array | None:
        """Returns what outputs say, in the form and the units of the targets.

        The report shows it beside the targets of a few examples. None, the default, shows nothing.

        Args:
          outputs: `float32[B, ...]`, as of `loss`.
        """
        del outputs
        return None

    def apart(self, outputs: Any, targets: Any) -> Iterator[tuple["Task", Any, Any]]:
        """Yields each of several tasks with its own outputs and targets; by default this task.

        Args:
          outputs: `float32[N, ...]`, as of `loss`.
          targets: `[N, ...]`.
        """
        yield self, outputs, targets

    def value(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Returns the primary metric of a batch, `float32[]`."""
        return self.metrics(self.sums(outputs, targets))[self.metric]

    def right(self, outputs: jax.Array, targets: jax.Array) -> np.ndarray | None:
        """Returns which examples are right, where the primary metric is the share of them.

        Two networks that were tested on the same examples can then be compared example by example.

        Args:
          outputs: `float32[N, ...]`, as of `loss`.
          targets: `[N, ...]`.

        Returns:
          `bool[N]`; None for a metric that is no share of right examples, such as F1 or an error.
        """
        if self.unit != "%" or self.dense:
            return None

        def one(output, target):
            return self.sums(output[None], target[None])[self.metric]

        sums, counts = (np.asarray(part) for part in jax.vmap(one)(outputs, targets))
        if sums.ndim > 1 or (counts != 1).any() or not np.isin(sums, (0, 1)).all():
            return None
        return sums == 1

    def show(self, value: float) -> str:
        """Returns a value of the primary metric as text."""
        return f"{value:.1%}".replace("%", " %") if self.unit == "%" else f"{value:.4g}{self.unit}"

    def better(self, one: float, other: float) -> bool:
        """Returns whether `one` is a better value of the primary metric than `other`."""
        return one > other if self.higher_is_better else one < other


def task_for(part: Part, data_task: str) -> Part:
    """Returns the task that a data set is for where the config leaves the default.

    Args:
      part: the config's task.
      data_task: name of the task that the data set is made for.
    """
    return Part(data_task) if part == Part("classification") else part


TASKS: Registry[Task] = Registry("task", Task, "hwnas_jax.tasks")  # type: ignore[type-abstract]


def values(sums: Sums) -> dict[str, jax.Array]:
    """Returns the metrics, `float32[]` each; zero where there was nothing to count.

    Where there are several ratios of a metric, those with something to count are averaged.

    Args:
      sums: of one batch, or added up over batches.
    """

    def mean_ratio(total, count):
        empty = count == 0
        ratios = jnp.where(empty, 0.0, total / jnp.where(empty, 1.0, count))
        return ratios.sum() / jnp.maximum((~empty).sum(), 1)

    return {metric: mean_ratio(total, count) for metric, (total, count) in sums.items()}


def make_task(part: Part, dataset: Dataset) -> Task:
    """Builds the task that `part` names, fitted to the training targets of a data set.

    Raises:
      UserError: for an unknown task or option, when the targets do not fit the task, or when its
        loss or sums are not what the contract says.
    """
    task = TASKS.make(part).of(dataset)
    try:
        for targets in (dataset.train_targets, dataset.test_targets):
            if task.dense:
                check_positions(task, targets, dataset.input_shape)
            task.check(targets, dataset.num_outputs)
    except UserError as error:
        made_for = (
            ""
            if part.name == dataset.task
            else f"; the data set {dataset.name} is made for task.name = {dataset.task!r}"
        )
        raise UserError(f"{error}{made_for}") from error
    task = task.fit(dataset.train_targets)
    check_task(task, dataset.train_targets, dataset.num_outputs, dataset.input_shape)
    return task


def described(task: Task, dataset: Dataset) -> dict[str, Any]:
    """Returns what the report of a run has to know of its task, as plain values.

    Args:
      task: what is learned.
      dataset: what it is learned on.
    """
    return {
        "name": task.name,
        "metric": task.metric,
        "higher_is_better": task.higher_is_better,
        "unit": task.unit,
        "chance": task.chance(dataset.test_targets, dataset.num_outputs),
        "test_examples": len(dataset.test_targets),
        "outputs": list(dataset.output_names),
        "parts": [
            {"name": part.name, "task": part.task, "outputs": list(part.output_names)}
            for part in dataset.parts
        ],
    }


def check_positions(task: Task, targets: np.ndarray, input_shape: Sequence[int]) -> None:
    """Raises UserError unless there are targets for each position of the inputs."""
    positions = tuple(input_shape)[:-1]
    if targets.shape[1 : len(input_shape)] != positions:
        size = "x".join(map(str, positions))
        raise UserError(
            f"task {task.name} needs targets for each of the {size} positions of an input, "
            f"[N, {', '.join(map(str, positions))}, ...]; got {targets.dtype}{list(targets.shape)}"
        )


def check_task(
    task: Task, targets: np.ndarray, num_outputs: int, input_shape: Sequence[int] = (1, 1, 1)
) -> None:
    """Checks a task against the targets of a data set, and the shapes of what it returns.

    Args:
      task: the method.
      targets: `[N, ...]`.
      num_outputs: `O`.
      input_shape: of one example, channels last, by which dense outputs have their size.

    Raises:
      UserError: when the targets do not fit, or a function returns what the contract does not say.
    """
    task.check(targets, num_outputs)
    where = f"task {task.name}"
    shape = output_shape(task.outputs(num_outputs), input_shape)
    outputs = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    some: Any = jax.ShapeDtypeStruct((2, *targets.shape[1:]), targets.dtype)
    try:
        loss, sums, said = jax.eval_shape(
            lambda o, t: (task.loss(o, t), task.sums(o, t), task.predicted(o)), outputs, some
        )
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{where} fails on outputs float32{list(outputs.shape)} and targets "
            f"{targets.dtype}{list(some.shape)}: {type(error).__name__}: {reason}"
        ) from error
    if not _is_scalar(loss):
        raise UserError(f"{where}: loss must be float32[], got {_shown(loss)}")
    if not isinstance(sums, dict):
        raise UserError(f"{where}: sums must be a dict by metric, got {type(sums).__name__}")
    for metric, pair in sums.items():
        if not (isinstance(pair, tuple) and len(pair) == 2 and _are_sums(*pair)):
            got = ", ".join(_shown(leaf) for leaf in jax.tree.leaves(pair))
            raise UserError(
                f"{where}: sums[{metric!r}] must be a sum and a count, float32[] each, got {got} "
                "(or float32[K] each, for a mean of K ratios)"
            )
    metrics = jax.eval_shape(task.metrics, sums)
    if task.metric not in metrics:
        held = ", ".join(map(str, metrics))
        raise UserError(f"{where}: sums must hold the metric {task.metric!r}, got {held}")
    if said is not None and getattr(said, "shape", None) != some.shape:
        raise UserError(
            f"{where}: predicted must have the targets' shape {list(some.shape)}, got "
            f"{_shown(said)}"
        )


def _is_scalar(value: Any) -> bool:
    return (
        isinstance(value, jax.ShapeDtypeStruct) and value.shape == () and value.dtype == jnp.float32
    )


def _are_sums(total: Any, count: Any) -> bool:
    return all(
        isinstance(value, jax.ShapeDtypeStruct)
        and value.ndim <= 1
        and value.shape == total.shape
        and value.dtype == jnp.float32
        for value in (total, count)
    )


def _shown(value: Any) -> str:
    if isinstance(value, jax.ShapeDtypeStruct):
        return f"{value.dtype}{list(value.shape)}"
    return type(value).__name__
