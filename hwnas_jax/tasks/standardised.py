"""Real values that are learned in standard deviations of the training targets.

Legend: `B` batch, `N` examples, `O` outputs; `...` are positions of a dense task.
"""

import dataclasses
from typing import Annotated, Self

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt

from hwnas_jax.data.dataset import float_moments
from hwnas_jax.errors import UserError
from hwnas_jax.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class Standardised(Task):
    """What tasks of real values share: the scale of each output, taken from the training targets.

    A network's outputs are `(value - mean) / std`, so that values of different units weigh the
    same: a squared error of one is that of always predicting the mean.
    """

    higher_is_better = False
    unit = ""

    standardise: bool = True
    """whether a network puts out standard deviations of the training targets from their mean;
    otherwise it puts out the values in their own units"""
    mean: tuple[float, ...] = ()
    """of the training targets, one for each output; taken from them when left out"""
    std: tuple[Annotated[float, Gt(0)], ...] = ()
    """their standard deviations, likewise; one for a target that never changes"""

    def check(self, targets: np.ndarray, num_outputs: int) -> None:
        """Refuses targets that are not one float for every output, at every position if dense."""
        axes = ["N", *(("H", "W") if self.dense else ()), str(num_outputs)]
        if (
            targets.ndim != len(axes)
            or targets.shape[-1] != num_outputs
            or not np.issubdtype(targets.dtype, np.floating)
        ):
            at = " at every position" if self.dense else ""
            raise UserError(
                f"task {self.name} needs targets float32[{', '.join(axes)}], a value for each of "
                f"the {num_outputs} outputs{at}; got {targets.dtype}{list(targets.shape)}"
            )
        for key, given in (("mean", self.mean), ("std", self.std)):
            if given and len(given) != num_outputs:
                raise UserError(
                    f"task {self.name}: {key} has {len(given)} entries for {num_outputs} outputs"
                )

    def fit(self, targets: np.ndarray) -> Self:
        """Returns the task with mean and deviation of the training targets."""
        mean, deviation = float_moments(targets)
        return dataclasses.replace(
            self,
            mean=self.mean or tuple(mean.tolist()),
            std=self.std or tuple(deviation.tolist()),
        )

    def scaled(self, targets: jax.Array) -> jax.Array:
        """Returns targets in the units of the outputs, `float32[B, ..., O]`."""
        if not self.standardise:
            return targets
        return (targets - jnp.float32(self.mean or 0.0)) / jnp.float32(self.std or 1.0)

    def predicted(self, outputs: jax.Array) -> jax.Array:
        """Returns outputs in the targets' own units, `float32[B, ..., O]`."""
        if not self.standardise:
            return outputs
        return outputs * jnp.float32(self.std or 1.0) + jnp.float32(self.mean or 0.0)

    def as_own(self, outputs: jax.Array, other: Task) -> jax.Array:
        """Returns outputs in standard deviations of other targets in those of this task's."""
        return self.scaled(other.predicted(outputs))  # type: ignore[arg-type]

    def variance(self, targets: np.ndarray) -> np.ndarray:
        """Returns the variance over examples of every value, in the units of the outputs, squared.

        It is the squared error of predicting the mean of these targets.

        Args:
          targets: `float32[N, ..., O]`.

        Returns:
          `float64[..., O]`.
        """
        scale = np.array(self.std) if self.standardise and self.std else 1.0
        return targets.var(0, np.float64) / np.square(scale)
