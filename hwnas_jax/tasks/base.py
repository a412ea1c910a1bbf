"""What is learned: the loss, the metrics, and the output that a network must have for them.

Legend: `B` batch, `N` examples, `O` outputs of the network.

A `Task` looks at outputs and targets alone; it knows no network and no search. Sums add over
batches and replicas, so that a metric is exact however the data are split.
"""

import abc
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.registry import Registry

Sums = dict[str, tuple[jax.Array, jax.Array]]
"""By metric, a sum and what it is divided by, `float32[]` each."""


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
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    metric: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "%"

    @abc.abstractmethod
    def check(self, targets: np.ndarray, num_outputs: int) -> None:
        """Raises UserError when the targets of a data set do not fit.

        Args:
          targets: `[N, ...]`, as the data set holds them.
          num_outputs: `O`: the data set's classes, labels or values.
        """

    @abc.abstractmethod
    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Returns the mean loss, `float32[]`.

        Args:
          outputs: `float32[B, O]`.
          targets: `[B, ...]`, as in the data set.
        """

    @abc.abstractmethod
    def sums(self, outputs: jax.Array, targets: jax.Array) -> Sums:
        """Returns the metrics of a batch as sums; arguments as of `loss`."""

    @abc.abstractmethod
    def chance(self, targets: np.ndarray, num_outputs: int) -> float:
        """Returns the primary metric of the best guess that looks at no input.

        Args:
          targets: `[N, ...]`, those that are guessed.
          num_outputs: `O`.
        """

    def value(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Returns the primary metric of a batch, `float32[]`."""
        total, count = self.sums(outputs, targets)[self.metric]
        return total / count

    def show(self, value: float) -> str:
        """Returns a value of the primary metric as text."""
        return f"{value:.1%}".replace("%", " %") if self.unit == "%" else f"{value:.4g}{self.unit}"

    def better(self, one: float, other: float) -> bool:
        """Returns whether `one` is a better value of the primary metric than `other`."""
        return one > other if self.higher_is_better else one < other


TASKS: Registry[Task] = Registry("task", Task, "hwnas_jax.tasks")  # type: ignore[type-abstract]


def check_task(task: Task, targets: np.ndarray, num_outputs: int) -> None:
    """Checks a task against the targets of a data set, and the shapes of what it returns.

    Args:
      task: the method.
      targets: `[N, ...]`.
      num_outputs: `O`.

    Raises:
      UserError: when the targets do not fit, or a function returns what the contract does not say.
    """
    from hwnas_jax.errors import UserError

    task.check(targets, num_outputs)
    where = f"task {task.name}"
    outputs = jax.ShapeDtypeStruct((2, num_outputs), jnp.float32)
    some: Any = jax.ShapeDtypeStruct((2, *targets.shape[1:]), targets.dtype)
    try:
        loss, sums = jax.eval_shape(lambda o, t: (task.loss(o, t), task.sums(o, t)), outputs, some)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{where} fails on outputs {outputs.shape}: {reason}") from error
    if loss.shape != () or loss.dtype != jnp.float32:
        raise UserError(f"{where}: loss must be float32[], got {loss.dtype}{list(loss.shape)}")
    if task.metric not in sums:
        raise UserError(
            f"{where}: sums must hold the metric {task.metric!r}, got {', '.join(sums)}"
        )
    for metric, pair in sums.items():
        if len(pair) != 2 or any(leaf.shape != () for leaf in pair):
            raise UserError(f"{where}: sums[{metric!r}] must be a sum and a count, float32[] each")
