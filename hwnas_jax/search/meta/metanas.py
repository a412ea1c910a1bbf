"""MetaNAS: the start follows the mean of what the tasks have learned from it (Reptile)."""

import dataclasses
from typing import Annotated

import jax
import optax
from annotated_types import Gt

from hwnas_jax.search.meta.base import (
    META_LEARNERS,
    Learned,
    MetaLearner,
    MetaTask,
    Pull,
    Rate,
    adapt,
    side_by_side,
)


@META_LEARNERS.add
@dataclasses.dataclass(frozen=True)
class MetaNAS(MetaLearner):
    """Moves weights and architecture towards where the inner steps of the tasks ended.

    No derivative goes through the inner steps. The step size of the weights falls evenly to zero;
    the architecture's parameters follow Adam.

    References: Elsken et al., "Meta-Learning of Neural Architectures for Few-Shot Learning",
    CVPR 2020; Nichol et al., "On First-Order Meta-Learning Algorithms", 2018 (Reptile).
    """

    name = "metanas"
    summary = "towards where the inner steps of the tasks ended (Reptile, first order)"

    inner_steps: Annotated[int, Gt(0)] = 8
    """steps by which a task is learned from its support"""
    inner_rate: Rate = 0.1
    """step size of the weights within a task"""
    inner_arch_rate: Rate = 5.0
    """step size of the architecture's parameters within a task"""
    outer_rate: Rate = 1.0
    """share of the way from the weights to the mean of the adapted ones; falls evenly to zero"""
    outer_arch_rate: Rate = 0.003
    """step size of Adam for the architecture's parameters"""

    def outer(self, steps: int) -> optax.GradientTransformation:
        """Returns a falling step for the weights, and Adam for the architecture."""
        falling = optax.linear_schedule(self.outer_rate, 0.0, steps)
        return side_by_side(optax.sgd(falling), optax.adam(self.outer_arch_rate))

    def pull(
        self, key: jax.Array, start: Learned, task: MetaTask, freedom: jax.Array | float = 1.0
    ) -> Pull:
        """Returns the way back from the adapted variables to the start, as a gradient."""
        inner_key, query_key = jax.random.split(key)
        adapted = adapt(self.inner(), start, task, inner_key, self.inner_steps, freedom)
        loss, metric = task.query(adapted.learned, query_key)
        back = jax.tree.map(lambda old, new: old - new, start, adapted.learned)
        return Pull(back, adapted.losses[0], loss, metric)
