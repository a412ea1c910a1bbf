"""TuNAS' absolute reward: distance from the limit costs, on either side."""

import dataclasses
from typing import Annotated

import jax.numpy as jnp
from annotated_types import Ge

from hwnas_jax.budgets.base import BUDGETS, BudgetState, Costs
from hwnas_jax.budgets.fixed_weight import FixedWeight


@BUDGETS.add
@dataclasses.dataclass(frozen=True)
class AbsoluteReward(FixedWeight):
    """Adds weight * |cost / limit - 1| of drawn networks for every metric.

    The kink at the limit holds the networks there, while a penalty without one settles where its
    slope balances that of the task.

    References: Bender et al., "Can Weight Sharing Outperform Random Architecture Search? An
    Investigation With TuNAS", 2020. There the weight is 0.1 and the reward is the accuracy; the
    loss that stands in its place here is larger than the error rate, and so is the default weight.
    """

    name = "absolute_reward"
    summary = "adds a weight times a drawn network's distance from the limit (TuNAS)"
    both_sides = True
    per_network = True

    weight: Annotated[float, Ge(0)] = 0.5
    """of every metric's relative distance from the limit"""

    def excess(self, costs: Costs, state: BudgetState) -> Costs:
        """Returns, by metric, |cost / limit - 1|."""
        return {metric: jnp.abs(value) for metric, value in super().excess(costs, state).items()}
