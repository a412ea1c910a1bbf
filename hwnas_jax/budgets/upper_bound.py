"""An upper bound: a network within the limit costs nothing, however little it uses."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from hwnas_jax.budgets.base import BUDGETS, BudgetState, Costs
from hwnas_jax.budgets.dual_ascent import DualAscent, augmented


@BUDGETS.add
@dataclasses.dataclass(frozen=True)
class UpperBound(DualAscent):
    """Penalises what a drawn network costs above the limit, by multipliers that learn.

    The mean of what lies above is never negative, so that a multiplier which followed it alone
    could only rise. Each follows the mean minus `allowed`, and falls again once the networks that
    are drawn lie above the limit by less than that. It never falls below zero.
    """

    name = "upper_bound"
    summary = "only what a drawn network costs above the limit counts"
    both_sides = False
    per_network = True

    allowed: Annotated[float, Gt(0)] = 0.005
    """mean share by which drawn networks may lie above the limit"""
    damping: Annotated[float, Ge(0)] = 4.0
    """weight of the squared share above the limit"""

    def _above(self, costs: Costs, state: BudgetState) -> Costs:
        return {
            metric: jnp.maximum(costs[metric] / limit - 1.0, 0.0)
            for metric, limit in state.limits.items()
        }

    def excess(self, costs: Costs, state: BudgetState) -> Costs:
        """Returns, by metric, the share above the limit minus `allowed`."""
        return {metric: above - self.allowed for metric, above in self._above(costs, state).items()}

    def term(self, costs: Costs, state: BudgetState) -> jax.Array:
        """Returns the augmented Lagrangian of what lies above the limits."""
        return augmented(self._above(costs, state), state.multipliers, self.damping)

    def update(self, excess: Costs, state: BudgetState) -> BudgetState:
        """Returns the state with each multiplier moved by its metric's excess, at least zero."""
        moved = super().update(excess, state)
        return moved._replace(
            multipliers=jax.tree.map(lambda value: jnp.maximum(value, 0.0), moved.multipliers)
        )
