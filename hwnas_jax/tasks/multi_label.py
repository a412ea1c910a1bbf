"""Any number of labels at once."""

import dataclasses
import math
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Gt, Lt

from hwnas_jax.errors import UserError
from hwnas_jax.tasks.base import TASKS, Sums, Task


@TASKS.add
@dataclasses.dataclass(frozen=True)
class MultiLabel(Task):
    """Cross-entropy of a sigmoid for every label; targets are zeros and ones `[N, O]`.

    The primary metric is the F1 score over all pairs of an example and a label,
    `2 TP / (2 TP + FP + FN)`. It is a ratio of sums, which mean average precision is not, and it
    does not count the labels that are rightly left out: where labels are rare, a network that
    predicts none has almost all of them right, but an F1 of zero. Two metrics that need all outputs
    at once are computed of trained networks, as means over the labels that some examples have and
    others do not: the area under the ROC curve and average precision (NAS-Bench-360 judges DeepSEA
    and FSD50K by them).
    """

    name = "multi_label"
    summary = "any number of labels at once: cross-entropy of each, F1 over all"
    metric = "f1"
    outputs_are = "labels"

    threshold: Annotated[float, Gt(0), Lt(1)] = 0.5
    """a label is predicted where its probability is above this"""

    def check(self, targets: np.ndarray, num_outputs: int) -> None:
        """Refuses targets that are not a zero or a one for every label."""
        if targets.ndim != 2 or targets.shape[1] != num_outputs:
            raise UserError(
                f"task multi_label needs targets [N, {num_outputs}], a zero or a one for each of "
                f"the {num_outputs} labels; got {targets.dtype}{list(targets.shape)}"
            )
        strange = targets[(targets != 0) & (targets != 1)]
        if len(strange):
            raise UserError(f"task multi_label needs targets of zeros and ones, got {strange[0]}")
        if not targets.any():
            raise UserError(
                f"task {self.name}: no example has any of the {num_outputs} labels, so that F1 is "
                "undefined"
            )

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Returns the mean cross-entropy of a label."""
        return optax.sigmoid_binary_cross_entropy(outputs, targets.astype(jnp.float32)).mean()

    def sums(self, outputs: jax.Array, targets: jax.Array) -> Sums:
        """Returns F1, and the share of labels rightly predicted or left out."""
        predicted = self.predicted(outputs)
        actual = targets.astype(bool)
        hits, right = (predicted & actual).sum(), (predicted == actual).sum()
        f1 = (2 * hits, predicted.sum() + actual.sum())
        sums = {"f1": f1, "label_accuracy": (right, outputs.size)}
        return {metric: (jnp.float32(a), jnp.float32(b)) for metric, (a, b) in sums.items()}

    def chance(self, targets: np.ndarray, num_outputs: int) -> float:
        """Returns the F1 of predicting the same, best chosen labels for every example.

        Of all choices of `k` labels, the `k` most frequent have the highest F1.
        """
        frequency = np.sort(targets.mean(0, np.float64))[::-1]
        chosen = np.arange(1, num_outputs + 1)
        positives = frequency.sum()
        return float((2 * frequency.cumsum() / (chosen + positives)).max())

    def predicted(self, outputs: jax.Array) -> jax.Array:
        """Returns which labels are predicted, `bool[B, O]`."""
        return outputs > math.log(self.threshold / (1 - self.threshold))

    def final(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Returns the areas under the ROC curve and the average precisions, averaged over labels.

        A label that all or none of the examples have counts in neither, as both are undefined.
        """
        from sklearn import metrics

        actual = targets.astype(bool)
        defined = np.flatnonzero(actual.any(0) & ~actual.all(0))
        if not len(defined) or not np.isfinite(outputs).all():
            return {}
        return {
            name: float(np.mean([score(actual[:, k], outputs[:, k]) for k in defined]))
            for name, score in (
                ("auroc", metrics.roc_auc_score),
                ("mean_average_precision", metrics.average_precision_score),
            )
        }
