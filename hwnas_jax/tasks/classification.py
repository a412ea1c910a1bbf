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
    """Cross-entropy of a softmax; targets are `int32[N]`, numbers of classes."""

    name = "classification"
    summary = "one class of several: cross-entropy, accuracy"
    metric = "accuracy"

    def check(self, targets: np.ndarray, num_outputs: int) -> None:
        """Refuses targets that are no numbers of classes."""
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
            raise UserError(
                f"task classification needs targets int32[N], got {targets.dtype}"
                f"{list(targets.shape)}: multi_label and regression take others"
            )
        if num_outputs < 2:
            raise UserError(f"task classification needs at least two classes, got {num_outputs}")

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Returns the mean cross-entropy."""
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()

    def sums(self, outputs: jax.Array, targets: jax.Array) -> Sums:
        """Returns how many are right."""
        right = (jnp.argmax(outputs, -1) == targets).sum().astype(jnp.float32)
        return {"accuracy": (right, jnp.float32(len(targets)))}

    def chance(self, targets: np.ndarray, num_outputs: int) -> float:
        """Returns the share of the most frequent class."""
        return float(np.bincount(targets, minlength=num_outputs).max() / len(targets))
