"""The loss of an architecture with what a budget makes of its costs."""

from typing import Any

import jax

from hwnas_jax.budgets.base import Budget, BudgetState
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.search.expected_cost import bound_of, expectation, expected_costs


def priced(
    task_loss: jax.Array,
    share: jax.Array,
    key: jax.Array,
    budget: Budget,
    state: BudgetState,
    cost_model: CostModel,
    *,
    samples: int,
    deviations: float = 0.0,
) -> tuple[jax.Array, tuple[Any, Any]]:
    """Returns the loss of the architecture, and the costs with their excess, by metric.

    Args:
      task_loss: `float32[]`.
      share: `float32[D, K]`, the probability of each option.
      key: for the architectures that are drawn where an expected cost needs draws.
      budget: how costs enter.
      state: its limits and multipliers; the metric that has the budget is the first.
      cost_model: predicts the costs.
      samples: number of draws.
      deviations: standard deviations above the prediction that the budget is held against.
    """
    metrics = tuple(state.limits)
    costs = expected_costs(cost_model, metrics, key, share, samples, deviations=deviations)
    if not budget.per_network:
        total = budget.combine(task_loss, costs, state)
        return total, (costs, budget.excess(costs, state))
    cost_of = bound_of(cost_model, metrics, deviations)

    def of_network(weight):
        own = cost_of(weight)
        return budget.term(own, state), budget.excess(own, state)

    term, excess = expectation(of_network, key, share, samples)
    return task_loss + term, (costs, excess)
