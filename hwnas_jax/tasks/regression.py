"""Real values."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt

from hwnas_jax.errors import UserError
from hwnas_jax.tasks.base import TASKS, Sums, Task


@TASKS.add
@dataclasses.dataclass(frozen=True)
class Regression(Task):
    """Mean squared error; targets are `float32[N, O]`.

    Errors are counted in standard deviations of the training targets, so that values of different
    units weigh the same: an error of one is that of always predicting the mean. A network's outputs
    are then `(value - mean) / std`.
    """

    name = "regression"
    summary = "real values: mean squared error of standardised targets"
    metric = "mse"
    higher_is_better = False
    unit = ""

    standardise: bool = True
    """whether outputs and errors are in standard deviations of the training targets from their
    mean; otherwise both are in the targets' own units"""
    mean: tuple[float, ...] = ()
    """of the training targets, one for each output; taken from them when left out"""
    std: tuple[Annotated[float, Gt(0)], ...] = ()
    """their standard deviations, likewise; one for a target that never changes"""

    def check(self, targets: np.ndarray, num_outputs: int) -> None:
        """Refuses targets that are not one float for every output."""
        if (
            targets.ndim != 2
            or targets.shape[1] != num_outputs
            or not np.issubdtype(targets.dtype, np.floating)
        ):
            raise UserError(
                f"task regression needs targets float32[N, {num_outputs}], a value for each of the "
                f"{num_outputs} outputs; got {targets.dtype}{list(targets.shape)}"
            )
        for key, given in (("mean", self.mean), ("std", self.std)):
            if given and len(given) != num_outputs:
                raise UserError(
                    f"task regression: {key} has {len(given)} entries for {num_outputs} outputs"
                )

    def fit(self, targets: np.ndarray) -> "Regression":
        """Returns the task with mean and deviation of the training targets."""
        deviation = targets.std(0, np.float64)
        deviation[targets.min(0) == targets.max(0)] = 1.0
        return dataclasses.replace(
            self,
            mean=self.mean or tuple(targets.mean(0, np.float64).tolist()),
            std=self.std or tuple(deviation.tolist()),
        )

    def _distances(self, outputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns how far the targets are from the outputs and from their mean, `[B, O]` each."""
        mean = jnp.float32(self.mean or 0.0)
        if self.standardise:
            targets, mean = (targets - mean) / jnp.float32(self.std or 1.0), 0.0
        return targets - outputs, targets - mean

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Returns the mean squared error."""
        return jnp.square(self._distances(outputs, targets)[0]).mean()

    def sums(self, outputs: jax.Array, targets: jax.Array) -> Sums:
        """Returns the squared error, and the share of the squares about the mean it explains."""
        error, whole = (jnp.square(d).sum() for d in self._distances(outputs, targets))
        return {"mse": (error, jnp.float32(outputs.size)), "r2": (whole - error, whole)}

    def chance(self, targets: np.ndarray, num_outputs: int) -> float:
        """Returns the error of predicting the mean of these targets: their variance."""
        scale = np.array(self.std) if self.standardise and self.std else 1.0
        return float((targets.var(0, np.float64) / np.square(scale) * np.ones(num_outputs)).mean())
