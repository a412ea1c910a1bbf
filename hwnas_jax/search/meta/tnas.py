"""T-NAS: the query loss after the inner steps, differentiated through all of them (MAML)."""

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
class TNAS(MetaLearner):
    """Follows the exact gradient of the query loss by the start, second derivatives included.

    The inner steps move weights and architecture together.

    References: Lian et al., "Towards Fast Adaptation of Neural Architectures with Meta Learning",
    ICLR 2020; Finn et al., "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
    ICML 2017.
    """

    name = "tnas"
    summary = "the query loss differentiated through the inner steps (MAML, second order)"

    inner_steps: Annotated[int, Gt(0)] = 5
    """steps by which a task is learned from its support"""
    inner_rate: Rate = 0.1
    """step size of the weights within a task"""
    inner_arch_rate: Rate = 30.0
    """step size of the architecture's parameters within a task"""
    outer_rate: Rate = 0.001
    """step size of Adam for the weights"""
    outer_arch_rate: Rate = 0.001
    """step size of Adam for the architecture's parameters"""

    def outer(self, steps: int) -> optax.GradientTransformation:
        """Returns Adam for either part."""
        del steps
        return side_by_side(optax.adam(self.outer_rate), optax.adam(self.outer_arch_rate))

    def pull(
        self, key: jax.Array, start: Learned, task: MetaTask, freedom: jax.Array | float = 1.0
    ) -> Pull:
        """Returns the gradient of the query loss by the start."""
        inner_key, query_key = jax.random.split(key)

        def judged(begin):
            adapted = adapt(self.inner(), begin, task, inner_key, self.inner_steps, freedom)
            loss, metric = task.query(adapted.learned, query_key)
            return loss, (adapted.losses[0], metric)

        (loss, (first, metric)), gradient = jax.value_and_grad(judged, has_aux=True)(start)
        return Pull(gradient, first, loss, metric)
