"""One class of several."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hwnas_jax.errors import UserError
from hwnas_jax.tasks.base import TASKS, Sums, Task


@TASKS.add
@dataclasses.dataclass(frozen=True)
class Classification(Task):
    """Cross-entropy of a softmax; targets are `int[N]`, numbers of classes."""

    name = "classification"
    summary = "one class of several: cross-entropy, accuracy"
    metric = "accuracy"

    def check(self, targets: np.ndarray, num_outputs: int) -> None:
        """Refuses targets that are not numbers of classes."""
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
            raise UserError(
                "task classification needs targets int32[N], the number of each example's class; "
                f"got {targets.dtype}{list(targets.shape)}"
            )
        if num_outputs < 2:
            raise UserError(f"task classification needs at least two classes, got {num_outputs}")
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= num_outputs:
            raise UserError(
                f"task classification needs targets in 0..{num_outputs - 1}, one number for each "
                f"of the {num_outputs} classes; they run from {low} to {high}"
            )

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Returns the mean cross-entropy."""
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()

    def sums(self, outputs: jax.Array, targets: jax.Array) -> Sums:
        """Returns how many classes are predicted right, out of how many."""
        right = (jnp.argmax(outputs, -1) == targets).sum().astype(jnp.float32)
        return {"accuracy": (right, jnp.float32(len(targets)))}

    def chance(self, targets: np.ndarray, num_outputs: int) -> float:
        """Returns the share of the most frequent class."""
        return float(np.bincount(targets, minlength=num_outputs).max() / len(targets))
