"""A fixed weight on the relative costs."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge

from hwnas_jax.budgets.base import BUDGETS, Budget, BudgetState, Costs


@BUDGETS.add
@dataclasses.dataclass(frozen=True)
class FixedWeight(Budget):
    """Adds weight * (cost / limit - 1) for every metric.

    Less cost is always better here, so a network that uses little of the budget meets it. Nothing
    steers the search to the limit; the derivation enforces it.

    References: Cai et al., "ProxylessNAS", 2019, whose loss has this form.
    """

    name = "fixed_weight"
    summary = "adds a fixed weight times the relative cost"
    both_sides = False

    weight: Annotated[float, Ge(0)] = 0.1
    """of every metric's relative cost"""

    def init(self, limits: Mapping[str, jax.typing.ArrayLike]) -> BudgetState:
        """Returns the state whose multipliers are, and stay, the weight."""
        state = super().init(limits)
        return state._replace(
            multipliers={metric: jnp.full((), self.weight, jnp.float32) for metric in state.limits}
        )

    def term(self, costs: Costs, state: BudgetState) -> jax.Array:
        """Returns the weighted sum of what `excess` returns."""
        excess = self.excess(costs, state)
        return sum(
            (state.multipliers[metric] * value for metric, value in excess.items()), jnp.zeros(())
        )
