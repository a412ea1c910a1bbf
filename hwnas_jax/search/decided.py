"""How decided a gradient search was at its end.

Legend: `D` decisions, `K` options of the widest decision, `N` networks.
"""

import dataclasses
from typing import Any

import numpy as np

from hwnas_jax.budgets.base import Budget
from hwnas_jax.budgets.target import Target
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.search.candidates import ENUMERABLE, bounded_costs, draw, likely_networks
from hwnas_jax.search.derivation.base import Candidates
from hwnas_jax.spaces.base import Space

DECIDED = 0.5
"""A search decided when this much of its probability lies on one network, and in the budget."""

_DRAWS = 16_384


@dataclasses.dataclass(frozen=True)
class Decided:
    """Where the probability of a gradient search lay at its end.

    Attributes:
      search: the label of the search.
      network: its most probable network.
      probability: of that network: of all architectures that build it.
      cost_over_target: what that network is predicted to cost, as a share of the budget; with a
        confidence, the upper bound.
      least_used: the share of the budget that a network must use to meet it; zero for an upper
        bound.
      within_budget: the probability of all networks that meet the budget, together.
      derived: the probability of the network that is derived first.
    """

    search: str
    network: str
    probability: float
    cost_over_target: float
    least_used: float
    within_budget: float
    derived: float

    @property
    def is_decided(self) -> bool:
        """Whether most of the probability lies on one network, and most within the budget."""
        return min(self.probability, self.within_budget) >= DECIDED

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return dataclasses.asdict(self)


def how_decided(
    space: Space,
    model: CostModel,
    target: Target,
    budget: Budget,
    candidates: Candidates,
    probabilities: np.ndarray,
    *,
    derived: int = 0,
    search: str = "search",
    seed: int = 0,
) -> Decided:
    """Returns how decided a search was.

    Probabilities are exact where the space is small enough to list. In a larger one the share
    within the budget is that of 16,384 draws from the search, and the most probable network is the
    most probable one among draws and the most probable architecture.

    Args:
      space: the search space.
      model: predicts the costs.
      target: the limits.
      budget: says what it means to meet them.
      candidates: the networks that meet them, with their probabilities under the search.
      probabilities: `float32[D, K]`, of the search.
      derived: the row of the candidate that is derived first.
      search: the label of the search.
      seed: of the draws.
    """
    networks, log_probability, _ = likely_networks(space, probabilities, probabilities, seed=seed)
    best = networks[log_probability.argmax()]
    bounds = bounded_costs(space, model, target, best[None])[1]
    widened = 1.0
    # Where no network met the budget, the share that may stay unused was doubled.
    while not budget.meets(candidates.predicted, target.limits, widened=widened).all():
        widened *= 2
    if space.size <= ENUMERABLE:
        within = np.exp(np.logaddexp.reduce(candidates.log_probability))
    else:
        drawn = draw(space, probabilities, _DRAWS, np.random.default_rng(seed))
        costs = bounded_costs(space, model, target, drawn[space.feasible(drawn)])[1]
        within = budget.meets(costs, target.limits, widened=widened).sum() / _DRAWS
    return Decided(
        search=search,
        network=space.to_string(best),
        probability=float(np.exp(log_probability.max())),
        cost_over_target=float(bounds[target.metric][0]) / target.value,
        least_used=max(1.0 - widened * budget.tolerance, 0.0) if budget.both_sides else 0.0,
        within_budget=min(float(within), 1.0),
        derived=float(np.exp(candidates.log_probability[derived])),
    )
