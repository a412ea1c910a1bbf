"""From candidates to networks worth training: measured first, and described."""

import math
from typing import Any

import numpy as np

from hwnas_jax.cost import AnalyticModel, CostModel, Timing, std_architectures
from hwnas_jax.search import Candidate, Target
from hwnas_jax.spaces import Space

LEAST_USED = 0.9
"""Share of the budget that a measured network must use to count as meeting it."""


def confirm(
    space: Space,
    groups: dict[str, list[Candidate]],
    timings: list[Timing],
    target_ms: float,
) -> tuple[dict[str, list[Candidate]], list[dict[str, Any]]]:
    """Puts the candidates that meet the budget when measured before those that do not.

    Args:
      space: their search space.
      groups: candidates by origin, in order of preference.
      timings: of all of them, group after group.
      target_ms: the budget.

    Returns:
      The groups, each with those that meet the budget in their order, then the others by their
      distance to it; and one plain row per candidate.
    """
    ordered, rows, measured = {}, [], iter(timings)
    for origin, group in groups.items():
        kept: list[tuple[float, Candidate]] = []
        missed: list[tuple[float, Candidate]] = []
        for candidate in group:
            now_ms = next(measured).latency_ms
            meets = LEAST_USED * target_ms <= now_ms <= target_ms
            (kept if meets else missed).append((abs(now_ms - target_ms), candidate))
            rows.append(
                {
                    "origin": origin,
                    "string": space.to_string(candidate.architecture),
                    "predicted_ms": candidate.predicted,
                    "measured_ms": now_ms,
                    "meets_budget": meets,
                }
            )
        missed.sort(key=lambda pair: pair[0])
        ordered[origin] = [candidate for _, candidate in kept + missed]
    return ordered, rows


def describe(
    space: Space,
    model: CostModel,
    target: Target,
    candidate: Candidate,
    origin: str,
    number: int,
) -> dict[str, Any]:
    """Returns what is known of a candidate before it is trained, as plain JSON values.

    Args:
      space: its search space.
      model: predicted its cost.
      target: the budget; its metric is described.
      candidate: the architecture.
      origin: "search" or "random".
      number: its place among those of its origin.
    """
    weight = np.eye(space.num_options, dtype=np.float32)[candidate.architecture]
    counts = AnalyticModel.count(space).predict(weight)
    std = std_architectures(model, candidate.architecture[None], space.num_options)
    probability = math.exp(candidate.log_probability)
    return {
        "origin": origin,
        "label": f"{origin}-{number}",
        "string": space.to_string(candidate.architecture),
        "architecture": space.to_names(candidate.architecture),
        "probability": None if math.isnan(probability) else probability,
        "predicted_ms": candidate.predicted,
        "predicted_std_ms": float(std[target.metric][0]),
        "params": int(counts["params"]),
        "macs": int(counts["macs"]),
    }
