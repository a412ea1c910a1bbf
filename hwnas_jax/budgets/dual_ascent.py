"""Dual ascent: the multiplier rises while the costs lie above the limit, and falls below it."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from hwnas_jax.budgets.base import BUDGETS, Budget, BudgetState, Costs


def augmented(excess: Costs, multipliers: Costs, damping: float) -> jax.Array:
    """Returns the sum over metrics of `multiplier * excess + damping / 2 * excess ** 2`.

    The quadratic part damps the swing that pure dual ascent falls into.

    References: Hestenes, "Multiplier and Gradient Methods", 1969.
    """
    total = jnp.zeros(())
    for metric, above in excess.items():
        total += multipliers[metric] * above + 0.5 * damping * above**2
    return total


@BUDGETS.add
@dataclasses.dataclass(frozen=True)
class DualAscent(Budget):
    """Brings the expected costs to the limits, so that nobody has to guess a weight.

    A multiplier may go below zero: it then rewards costs, since a limit that is met from both
    sides wants the budget to be spent.

    References: Luo et al., "LightNAS", 2022.
    """

    name = "dual_ascent"
    summary = "meets the limit from both sides, by a multiplier that learns (LightNAS)"

    learning_rate: Annotated[float, Gt(0)] = 0.02
    """of the multipliers"""
    damping: Annotated[float, Ge(0)] = 4.0
    """weight of the squared relative distance from the limit"""

    def term(self, costs: Costs, state: BudgetState) -> jax.Array:
        """Returns the augmented Lagrangian of the relative distances from the limits."""
        return augmented(self.excess(costs, state), state.multipliers, self.damping)

    def update(self, excess: Costs, state: BudgetState) -> BudgetState:
        """Returns the state with each multiplier moved by its metric's excess."""
        return state._replace(
            multipliers={
                metric: multiplier + self.learning_rate * excess[metric]
                for metric, multiplier in state.multipliers.items()
            }
        )
