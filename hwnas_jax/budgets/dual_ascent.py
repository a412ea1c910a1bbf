"""Dual ascent: the multiplier of the hardware term finds itself."""

import dataclasses
from typing import Annotated

import jax
from annotated_types import Ge

from hwnas_jax.budgets.base import BUDGETS, Budget, BudgetState, Costs


@BUDGETS.add
@dataclasses.dataclass(frozen=True)
class DualAscent(Budget):
    """Raises the multiplier while the expected cost is above the limit, and lowers it below."""

    name = "dual_ascent"
    summary = "the expected cost is driven to the limit from both sides"

    learning_rate: Annotated[float, Ge(0)] = 0.02
    """step size of dual ascent on the multipliers"""
    damping: Annotated[float, Ge(0)] = 4.0
    """weight of the squared relative distance to the limit, which damps dual ascent"""

    def term(self, costs: Costs, state: BudgetState) -> jax.Array:
        """Returns the augmented Lagrangian's part."""
        excess = self.excess(costs, state)
        return sum(
            state.multipliers[m] * excess[m] + 0.5 * self.damping * excess[m] ** 2 for m in excess
        )

    def update(self, excess: Costs, state: BudgetState) -> BudgetState:
        """Returns the state after one step of dual ascent."""
        return state._replace(
            multipliers={m: state.multipliers[m] + self.learning_rate * excess[m] for m in excess}
        )
