"""Networks over the whole range of costs, and the least that a budget must be.

Legend: `N` networks, `D` decisions, `K` options of the widest decision.
"""

from collections.abc import Sequence

import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.cost.files.observations import unit
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.errors import UserError
from hwnas_jax.search.candidates import ENUMERABLE, architectures_of, bounded_costs
from hwnas_jax.spaces.base import Space

_WALKS = 3
"""From so many of the cheapest and of the dearest networks, costs are followed to the end."""


def spread(space: Space, model: CostModel, target: Target, *, seed: int) -> np.ndarray:
    """Returns networks from the cheapest to the dearest, `int32[N, D]`, distinct and canonical.

    These are all networks of a space small enough to list. In a large space hardly any of those
    that are drawn cost very little or very much. From the cheapest and the dearest that were drawn,
    one decision after another is therefore changed to what costs least or most, and all networks on
    that way are added.

    Args:
      space: the search space.
      model: predicts the costs.
      target: whose metric and confidence count; its value does not.
      seed: of the draws.
    """
    drawn = np.unique(space.canonical(architectures_of(space, seed=seed)), axis=0)
    if space.size <= ENUMERABLE:
        return drawn
    costs = bounded_costs(space, model, target, drawn)[1][target.metric]
    order = np.argsort(costs, kind="stable")
    walks = [drawn]
    for ends, sign in ((order[:_WALKS], 1.0), (order[-_WALKS:], -1.0)):
        walks += [_walk(space, model, target, drawn[end], sign) for end in ends]
    return np.unique(np.concatenate(walks), axis=0)


def _walk(
    space: Space, model: CostModel, target: Target, start: np.ndarray, sign: float
) -> np.ndarray:
    """Returns the networks of a steepest descent of `sign` times the cost, `int32[n, D]`."""
    rows, columns = np.nonzero(space.mask)
    path, least = [start], np.inf
    while True:
        around = np.tile(path[-1], (len(rows), 1))
        around[np.arange(len(rows)), rows] = columns
        around = space.canonical(around[space.feasible(around)])
        costs = sign * bounded_costs(space, model, target, around)[1][target.metric]
        best = int(np.argmin(costs))
        if not costs[best] < least:
            return np.stack(path)
        path.append(around[best])
        least = costs[best]


def nearest(costs: np.ndarray, count: int) -> np.ndarray:
    """Returns rows whose costs are spread evenly from the least to the most, `int[n]`, distinct.

    Half of them are spread evenly over the costs, the others over the networks, most of which
    cost about the same.

    Args:
      costs: `float[N]`.
      count: how many; fewer are returned where there are fewer.
    """
    order = np.argsort(costs, kind="stable")
    if len(costs) <= count:
        return order
    wanted = np.linspace(costs[order[0]], costs[order[-1]], count // 2)
    places = np.unique(np.minimum(np.searchsorted(costs[order], wanted), len(costs) - 1))
    others = np.setdiff1d(np.arange(len(costs)), places)
    more = others[np.linspace(0, len(others) - 1, count - len(places)).astype(int)]
    return order[np.sort(np.concatenate([places, more]))]


def check_affordable(
    space: Space, model: CostModel, pool: np.ndarray, targets: Sequence[Target]
) -> None:
    """Raises UserError when no network of a pool meets one of the budgets.

    Args:
      space: the search space.
      model: predicts the costs.
      pool: `int32[N, D]`, as `spread` returns it.
      targets: the budgets, which differ in their value alone.
    """
    first = targets[0]
    _, bounds = bounded_costs(space, model, first, pool)
    within = np.ones(len(pool), bool)
    for metric, limit in first.others:
        within &= bounds[metric] <= limit
    name = unit(first.metric)
    if not within.any():
        limits = " and ".join(f"{limit:.4g} {unit(metric)}" for metric, limit in first.others)
        least = " and ".join(f"{bounds[m].min():.4g} {unit(m)}" for m, _ in first.others)
        raise UserError(f"no network is predicted to keep {limits}; the least is {least}")
    lowest = float(bounds[first.metric][within].min())
    missed = [f"{target.value:.4g}" for target in targets if target.value < lowest]
    if missed:
        sure = "" if first.confidence is None else f" with a confidence of {first.confidence:g}"
        raise UserError(
            f"no network is predicted to meet {', '.join(missed)} {name}{sure}; the least that any "
            f"takes is {lowest:.4g} {name}"
        )
