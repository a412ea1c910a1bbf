"""Real values."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.tasks.base import TASKS, Sums
from hwnas_jax.tasks.standardised import Standardised


@TASKS.add
@dataclasses.dataclass(frozen=True)
class Regression(Standardised):
    """Mean squared error; targets are `float32[N, O]`.

    Errors are counted in standard deviations of the training targets unless `standardise` is off.
    """

    name = "regression"
    summary = "real values: mean squared error of standardised targets"
    metric = "mse"

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Returns the mean squared error."""
        return jnp.square(self.scaled(targets) - outputs).mean()

    def sums(self, outputs: jax.Array, targets: jax.Array) -> Sums:
        """Returns the squared error, and the share of the squares about the mean it explains."""
        scaled = self.scaled(targets)
        mean = 0.0 if self.standardise else jnp.float32(self.mean or 0.0)
        error, whole = (jnp.square(scaled - point).sum() for point in (outputs, mean))
        return {"mse": (error, jnp.float32(outputs.size)), "r2": (whole - error, whole)}

    def chance(self, targets: np.ndarray, num_outputs: int) -> float:
        """Returns the error of predicting the mean of these targets: their variance."""
        del num_outputs
        return float(self.variance(targets).mean())
