"""One class of several."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hwnas_jax.errors import UserError
from hwnas_jax.tasks.base import TASKS, Sums, Task


@TASKS.add
@dataclasses.dataclass(frozen=True)
class Classification(Task):
    """Cross-entropy of a softmax; targets are `int[N]`, numbers of classes.

    Accuracy is the share of right classes. Macro F1 is the mean over the classes that occur, in
    targets or predictions, of `2 TP / (predicted + actual)`: rare classes count as much as frequent
    ones (NAS-Bench-360 judges electrocardiograms by one minus it).
    """

    name = "classification"
    summary = "one class of several: cross-entropy, accuracy or macro F1"
    outputs_are = "classes"

    metric: Literal["accuracy", "macro_f1"] = "accuracy"  # type: ignore[misc]
    """the primary metric"""

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
        """Returns how many classes are right of how many, and for macro F1 so for each class."""
        classes = jnp.arange(outputs.shape[-1])
        chosen = jnp.argmax(outputs, -1)
        said, true = (one[:, None] == classes for one in (chosen, targets))
        sums = {
            "accuracy": ((chosen == targets).sum(), jnp.int32(len(targets))),
            "macro_f1": (2 * (said & true).sum(0), said.sum(0) + true.sum(0)),
        }
        return {k: (a.astype(jnp.float32), b.astype(jnp.float32)) for k, (a, b) in sums.items()}

    def chance(self, targets: np.ndarray, num_outputs: int) -> float:
        """Returns the share of the most frequent class, or the macro F1 of predicting it always."""
        counts = np.bincount(targets, minlength=num_outputs)
        most = counts.max() / len(targets)
        if self.metric == "accuracy":
            return float(most)
        return float(2 * most / (1 + most) / (counts > 0).sum())

    def predicted(self, outputs: jax.Array) -> jax.Array:
        """Returns the most probable class, `int32[B]`."""
        return jnp.argmax(outputs, -1)
