"""From candidates to networks worth training: described, and measured first."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hwnas_jax.budgets.base import Budget
from hwnas_jax.budgets.target import Target
from hwnas_jax.cost import AnalyticModel, CostModel, Sample, std_architectures
from hwnas_jax.search.candidates import Candidate
from hwnas_jax.spaces import Space

Groups = dict[tuple[str, str], list[Candidate]]
"""Candidates by the label of their search and by their origin: "search", or the name of a control.
"""

LEAST_USED = 0.9
"""Share of the budget that a measured network must use to count as meeting it, where the budget is
met from both sides. With a confidence, this share is taken of what is left below the margin."""


def confirm(
    space: Space,
    groups: Groups,
    measured: Mapping[str, Sample],
    target: Target,
    budget: Budget,
) -> tuple[Groups, list[dict[str, Any]]]:
    """Puts the candidates that meet the budget when measured before those that do not.

    Args:
      space: their search space.
      groups: candidates by search and origin, in order of preference.
      measured: what each of them costs, by its string, in the unit of the target.
      target: the budget.
      budget: says whether networks that leave much of it unused meet it.

    Returns:
      The groups, each with those that meet the budget in their order, then the others by their
      distance to it; and one plain row per candidate.
    """
    ordered, rows = {}, []
    for (search, origin), group in groups.items():
        kept: list[tuple[float, Candidate]] = []
        missed: list[tuple[float, Candidate]] = []
        for candidate in group:
            string = space.to_string(candidate.architecture)
            found = measured[string].median
            meets = meets_budget(found, candidate.predicted, candidate.bound, target.value, budget)
            (kept if meets else missed).append((abs(found - target.value), candidate))
            rows.append(
                {
                    "search": search,
                    "origin": origin,
                    "string": string,
                    "predicted": candidate.predicted,
                    "measured": found,
                    "meets_budget": meets,
                }
            )
        missed.sort(key=lambda pair: pair[0])
        ordered[search, origin] = [candidate for _, candidate in kept + missed]
    return ordered, rows


def meets_budget(
    measured: float, predicted: float, bound: float, target: float, budget: Budget
) -> bool:
    """Returns whether a network meets a budget by its measured cost.

    Args:
      measured: what it costs, in the unit of the target.
      predicted: what it was predicted to cost.
      bound: the upper bound of that, which is the prediction itself without a confidence.
      target: the most that it may cost.
      budget: says whether networks that leave much of it unused meet it.
    """
    # What a confidence keeps free is not expected to be used.
    least = LEAST_USED * (target - (bound - predicted)) if budget.both_sides else 0.0
    return least <= measured <= target


def describe(
    space: Space, model: CostModel, target: Target, candidate: Candidate
) -> dict[str, Any]:
    """Returns what is known about a candidate before it is trained, as plain JSON values.

    Args:
      space: its search space.
      model: predicted its cost.
      target: the budget; its metric is described.
      candidate: the architecture.
    """
    weight = np.eye(space.num_options, dtype=np.float32)[candidate.architecture]
    counts = AnalyticModel.count(space).predict(weight)
    std = std_architectures(model, candidate.architecture[None], space.num_options)
    probability = math.exp(candidate.log_probability)
    return {
        "string": space.to_string(candidate.architecture),
        "architecture": space.to_names(candidate.architecture),
        "probability": _or_none(probability),
        "score": _or_none(candidate.score),
        "predicted": candidate.predicted,
        "predicted_std": float(std[target.metric][0]),
        "predicted_bound": None if target.confidence is None else candidate.bound,
        "params": int(counts["params"]),
        "macs": int(counts["macs"]),
    }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
