"""A budget of one's own: the penalty method, whose weight grows while the limit is missed.

hwnas search --budget.name my_budget.py:GrowingPenalty
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Gt

from hwnas_jax.budgets import Budget


@dataclasses.dataclass(frozen=True)
class GrowingPenalty(Budget):
    """Adds half a weight times the squared share above the limit; the weight only grows."""

    name = "growing_penalty"
    summary = "a squared penalty whose weight grows while the limit is missed"
    both_sides = False

    start: Annotated[float, Gt(0)] = 1.0
    """weight at the beginning"""
    growth: Annotated[float, Gt(1)] = 1.05
    """factor of the weight after a step above the limit"""

    def init(self, limits):
        state = super().init(limits)
        start = jnp.full((), self.start, jnp.float32)
        return state._replace(multipliers=dict.fromkeys(state.limits, start))

    def term(self, costs, state):
        above = jax.tree.map(lambda excess: jnp.maximum(excess, 0.0), self.excess(costs, state))
        return sum(0.5 * state.multipliers[metric] * above[metric] ** 2 for metric in above)

    def update(self, excess, state):
        grown = {
            metric: jnp.where(excess[metric] > 0, self.growth, 1.0) * weight
            for metric, weight in state.multipliers.items()
        }
        return state._replace(multipliers=grown)
