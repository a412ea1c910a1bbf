"""What a cost model says of architectures before anyone evaluates them.

Legend: `n` architectures, `D` decisions, `K` options of the widest decision.
"""

import jax
import jax.numpy as jnp

from hwnas_jax.budgets import Budget
from hwnas_jax.budgets.target import Target
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.search.expected_cost import bound_of, expected_costs
from hwnas_jax.search.strategies.base import Outlook, SoftAhead

_DRAWS = 4
"""architectures that are drawn where the cost model does not know an expectation exactly"""


def outlook_of(model: CostModel, target: Target, budget: Budget, num_options: int) -> SoftAhead:
    """Returns what a strategy may look at, of architectures `int32[n, D]`; pure.

    The chance of an architecture is that of its cost to keep the budget, where the cost has a
    normal distribution about the prediction. Limits on other metrics are kept or not. Of
    architectures whose decisions are drawn, the expected costs are held against the limits.

    Args:
      model: the cost model.
      target: the limits.
      budget: says what it means to keep them.
      num_options: `K`.
    """
    limits, first = target.limits, target.metric
    bounds_of = bound_of(model, tuple(limits), target.deviations)
    unused = limits[first] * (1.0 - budget.tolerance)

    def ahead(architectures: jax.Array) -> Outlook:
        weights = jax.nn.one_hot(architectures, num_options)
        features = weights.reshape(len(weights), -1)
        cost = jax.vmap(lambda weight: model.predict(weight)[first])(weights)
        bounds = jax.vmap(bounds_of)(weights)
        excess = budget.distance(bounds, limits)
        if not model.knows_uncertainty:
            return Outlook(cost, excess, (excess <= 0).astype(jnp.float32), features)
        std = jax.vmap(lambda weight: model.std(weight)[first])(weights)
        std = jnp.maximum(std, 1e-6 * limits[first])
        chance = jax.scipy.stats.norm.cdf((limits[first] - cost) / std)
        if budget.both_sides:
            chance = chance - jax.scipy.stats.norm.cdf((unused - cost) / std)
        for metric, limit in list(limits.items())[1:]:
            chance = jnp.where(bounds[metric] <= limit, chance, 0.0)
        return Outlook(cost, excess, chance, features)

    def expected(key: jax.Array, share: jax.Array) -> jax.Array:
        costs = expected_costs(
            model, tuple(limits), key, share, _DRAWS, deviations=target.deviations
        )
        return budget.distance(costs, limits)

    return SoftAhead(ahead, expected)
