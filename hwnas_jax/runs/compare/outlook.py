"""What the searches of a comparison know of a network's cost before they ask for it.

Here it is the published cost itself. A cost model that learns from few measurements is another
`Outlooks`, with arrays of its own. What a network truly costs is looked up beside it in either
case.

Legend: `n` architectures, `D` decisions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hwnas_jax.search.strategies import Ahead, Outlook, no_budget
from hwnas_jax.spaces.base import Choices
from hwnas_jax.tabular import look_up


class Costs(NamedTuple):
    """What networks cost in a case; arrays, as inputs of the compiled program.

    Attributes:
      column: a `hwnas_jax.tabular.base.Column` of what each architecture costs; NaN, or no row,
        where no cost is published or the table of accuracies lacks the network.
      limit: `float32[]`, the most that a network may cost; infinity for no limit.
    """

    column: Any
    limit: Any


Outlooks = Callable[[Choices, Any], Ahead]
"""`(space, arrays) -> Ahead`; pure."""


def cost_of(space: Choices, costs: Costs, architectures: jax.Array) -> jax.Array:
    """Returns what architectures (`int32[n, D]`) truly cost, `float32[n]`."""
    return look_up(space, {"cost": costs.column}, architectures)["cost"]


def published(space: Choices, costs: Costs) -> Ahead:
    """Returns an outlook that knows the published costs; what has none is out of reach."""

    def ahead(architectures: jax.Array) -> Outlook:
        cost = cost_of(space, costs, architectures)
        excess = jnp.maximum(cost / costs.limit - 1, 0)
        excess = jnp.where(jnp.isnan(cost), jnp.inf, excess)
        chance = (excess <= 0).astype(jnp.float32)
        return no_budget(architectures)._replace(
            cost=jnp.nan_to_num(cost), excess=excess, chance=chance
        )

    return ahead
