"""A task from a user's own file: classes in an order, where a near miss is better than a far one.

    hwnas search digits --task.name my_task.py:Ordinal

For `O` classes the first `O - 1` outputs of the network each say whether the target lies above one
more class (Frank and Hall, A Simple Approach to Ordinal Classification, 2001); the last output is
not used.
"""

import dataclasses
from typing import Annotated

import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge, Lt

from hwnas_jax.errors import UserError
from hwnas_jax.tasks import Task


@dataclasses.dataclass(frozen=True)
class Ordinal(Task):
    """How many classes does a prediction miss by?"""

    name = "ordinal"
    summary = "classes in an order: how many steps a prediction is off"
    metric = "steps_off"
    higher_is_better = False
    unit = ""

    smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """how far the targets of the cross-entropy are moved from 0 and 1 towards a half"""

    def check(self, targets, num_outputs):
        whole = targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer)
        if not whole or targets.min() < 0 or targets.max() >= num_outputs:
            raise UserError(f"task ordinal needs targets int[N] in 0..{num_outputs - 1}")

    def _above(self, targets, num_outputs):
        return targets[:, None] > jnp.arange(num_outputs - 1)

    def loss(self, outputs, targets):
        above = self._above(targets, outputs.shape[1]).astype(jnp.float32)
        above = above * (1 - self.smoothing) + self.smoothing / 2
        return optax.sigmoid_binary_cross_entropy(outputs[:, :-1], above).mean()

    def sums(self, outputs, targets):
        off = jnp.abs((outputs[:, :-1] > 0).sum(1) - targets)
        count = jnp.float32(len(targets))
        right = (off == 0).sum().astype(jnp.float32)
        return {"steps_off": (off.sum().astype(jnp.float32), count), "accuracy": (right, count)}

    def chance(self, targets, num_outputs):
        return float(np.abs(targets - np.median(targets).round()).mean())
