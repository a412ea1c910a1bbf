"""One class of several at every position.

Legend: `B` batch, `N` examples, `H, W` positions, `O` classes.
"""

import dataclasses
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge

from hwnas_jax.errors import UserError
from hwnas_jax.tasks.base import TASKS, Sums, Task


@TASKS.add
@dataclasses.dataclass(frozen=True)
class Segmentation(Task):
    """Cross-entropy of a softmax at every position; targets are `int[N, H, W]`, classes.

    Mean intersection over union: for each class, the positions where both prediction and target say
    it, divided by those where one of them does; averaged over the classes that occur in one of them
    (Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2015). Positions whose
    target is `ignore` count nowhere.
    """

    name = "segmentation"
    summary = "one class of several at every position: cross-entropy, mean intersection over union"
    metric = "mean_iou"
    dense = True
    outputs_are = "classes"

    ignore: int = -1
    """the target of positions that have no class"""
    class_weights: Literal["equal", "balanced"] = "equal"
    """balanced: all classes weigh the same in the loss, however many positions they have"""
    shares: tuple[Annotated[float, Ge(0)], ...] = ()
    """of all training positions, the share that has each class; taken from them when left out"""

    def check(self, targets: np.ndarray, num_outputs: int) -> None:
        """Refuses targets that are not numbers of classes, or that have no class anywhere."""
        if targets.ndim != 3 or not np.issubdtype(targets.dtype, np.integer):
            raise UserError(
                f"task {self.name} needs targets int32[N, H, W], the number of each position's "
                f"class; got {targets.dtype}{list(targets.shape)}"
            )
        if num_outputs < 2:
            raise UserError(f"task {self.name} needs at least two classes, got {num_outputs}")
        known = targets[targets != self.ignore]
        if not len(known):
            raise UserError(
                f"task {self.name}: the target of every position is {self.ignore}, which is "
                "ignored, so that mean intersection over union is undefined"
            )
        low, high = int(known.min()), int(known.max())
        if low < 0 or high >= num_outputs:
            raise UserError(
                f"task {self.name} needs targets in 0..{num_outputs - 1}, one number for each of "
                f"the {num_outputs} classes, or ignore = {self.ignore} where there is none; they "
                f"run from {low} to {high}"
            )
        if len(self.shares) > num_outputs:
            raise UserError(
                f"task {self.name}: shares has {len(self.shares)} entries for {num_outputs} classes"
            )

    def fit(self, targets: np.ndarray) -> "Segmentation":
        """Returns the task with the shares of its classes."""
        counts = np.bincount(targets[targets != self.ignore].ravel())
        return dataclasses.replace(
            self, shares=self.shares or tuple((counts / targets.size).tolist())
        )

    def _weights(self, classes: int) -> jax.Array:
        """Returns what a position of each class weighs, `float32[O]`.

        The mean over all training positions is one, where those without a class weigh nothing. A
        class that no training position has weighs what it would if all classes weighed the same.
        """
        if not self.shares:
            return jnp.ones(classes)
        shares = np.zeros(classes)
        shares[: len(self.shares)] = self.shares
        weights = np.full(classes, 1 / shares.sum())
        if self.class_weights == "balanced":
            there = shares > 0
            weights[there] = 1 / (there.sum() * shares[there])
        return jnp.float32(weights)

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Returns the mean over all positions of their weighted cross-entropy."""
        targets = targets.astype(jnp.int32)
        known = targets != self.ignore
        classes = jnp.where(known, targets, 0)
        entropy = optax.softmax_cross_entropy_with_integer_labels(outputs, classes)
        weight = jnp.where(known, self._weights(outputs.shape[-1])[classes], 0.0)
        return (weight * entropy).mean()

    def sums(self, outputs: jax.Array, targets: jax.Array) -> Sums:
        """Returns intersection and union of every class, and how many positions are right."""
        targets = targets.astype(jnp.int32)
        known = (targets != self.ignore)[..., None]
        classes = jnp.arange(outputs.shape[-1])
        said = (jnp.argmax(outputs, -1)[..., None] == classes) & known
        true = (targets[..., None] == classes) & known
        axes = tuple(range(targets.ndim))
        both, either = (said & true).sum(axes), (said | true).sum(axes)
        sums = {"mean_iou": (both, either), "pixel_accuracy": (both.sum(), known.sum())}
        return {k: (a.astype(jnp.float32), b.astype(jnp.float32)) for k, (a, b) in sums.items()}

    def chance(self, targets: np.ndarray, num_outputs: int) -> float:
        """Returns the better of two guesses: one class everywhere, or that of each position.

        The first takes the most frequent class of all, the second the most frequent class of each
        position.
        """
        counts = np.stack([(targets == k).sum(0) for k in range(num_outputs)], -1)
        per_class = counts.sum((0, 1))
        guesses = np.full(counts.shape[:2], per_class.argmax()), counts.argmax(-1)
        return max(_mean_iou(guess, counts) for guess in guesses)

    def predicted(self, outputs: jax.Array) -> jax.Array:
        """Returns the most probable class of every position, `int32[B, H, W]`."""
        return jnp.argmax(outputs, -1)


def _mean_iou(guess: np.ndarray, counts: np.ndarray) -> float:
    """Returns the mean intersection over union of one map for all examples.

    Args:
      guess: `int[H, W]`.
      counts: `int[H, W, O]`, how many examples have each class at each position.
    """
    said = guess[..., None] == np.arange(counts.shape[-1])
    both = (counts * said).sum((0, 1))
    either = (counts.sum(-1, keepdims=True) * said + counts).sum((0, 1)) - both
    return float((both[either > 0] / either[either > 0]).mean())
