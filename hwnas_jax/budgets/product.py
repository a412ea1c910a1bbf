"""A product: the task's loss is multiplied by a power of each relative cost."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Gt

from hwnas_jax.budgets.base import BUDGETS, Budget, BudgetState, Costs

_LOWEST = 1e-6


@BUDGETS.add
@dataclasses.dataclass(frozen=True)
class Product(Budget):
    """Minimises task loss * (cost / limit) ^ exponent, with a factor for every metric.

    What the task gains is weighed against costs in relative terms: one percent less cost is worth
    `exponent` percent less loss, wherever the search stands. Less cost is always better, so a
    network that uses little of the budget meets it.

    `term` is the product of the factors minus one: the share by which the costs raise the loss,
    negative below the limits. So `combine` returns `task_loss * (1 + term)`, and a log of `term`
    means the same for every loss.

    References: Tan et al., "MnasNet", 2019, where the reward is accuracy times such a factor; Cai
    et al., "ProxylessNAS", 2019, whose loss has a factor of logarithms.
    """

    name = "product"
    summary = "multiplies the loss by a power of the relative cost (MnasNet)"
    both_sides = False

    exponent: Annotated[float, Gt(0)] = 0.3
    """of every metric's relative cost"""

    def term(self, costs: Costs, state: BudgetState) -> jax.Array:
        """Returns the share by which the costs raise the loss."""
        factor = jnp.ones(())
        for metric, limit in state.limits.items():
            # A power has no finite slope at zero, where a cost model may err to.
            factor = factor * jnp.maximum(costs[metric] / limit, _LOWEST) ** self.exponent
        return factor - 1.0

    def combine(self, task_loss: jax.Array, costs: Costs, state: BudgetState) -> jax.Array:
        """Returns the task's loss times the factors."""
        return task_loss * (1.0 + self.term(costs, state))
