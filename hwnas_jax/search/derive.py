"""From candidates to networks worth training: measured first, and described."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import Config
from hwnas_jax.cost import AnalyticModel, CostModel, Sample, std_architectures
from hwnas_jax.data import Dataset
from hwnas_jax.data.pipeline import normalise
from hwnas_jax.relax.base import one_hot_gates
from hwnas_jax.search import Candidate, Target, make_search
from hwnas_jax.spaces import Space

LEAST_USED = 0.9
"""Share of the budget that a measured network must use to count as meeting it; with a
confidence, of what is left of the budget below the margin."""


def confirm(
    space: Space,
    groups: dict[str, list[Candidate]],
    timings: list[Sample],
    target_ms: float,
) -> tuple[dict[str, list[Candidate]], list[dict[str, Any]]]:
    """Puts the candidates that meet the budget when measured before those that do not.

    Args:
      space: their search space.
      groups: candidates by origin, in order of preference.
      timings: latencies of all of them in milliseconds, group after group.
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
            now_ms = next(measured).median
            # What a confidence keeps free is not expected to be used.
            expected_ms = target_ms - (candidate.bound - candidate.predicted)
            meets = LEAST_USED * expected_ms <= now_ms <= target_ms
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
        "predicted_bound_ms": None if target.confidence is None else candidate.bound,
        "params": int(counts["params"]),
        "macs": int(counts["macs"]),
    }


def make_supernet_accuracy(
    space: Space, dataset: Dataset, cost_model: CostModel, config: Config
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], float]:
    """Returns `(weights, architecture, rows) -> accuracy`, in [0, 1], of an untrained network.

    The network takes its weights from the supernet, whose normalisation uses the statistics of
    each batch: batches are as large as in the search, and a remainder is left out.

    Args:
      space: the search space.
      dataset: its training images are looked up by `rows`.
      cost_model: of the search; not asked for anything.
      config: `search` and `target` are read.

    Returns:
      A function of `float32[P]`, `int32[D]` and `int[N]`, the images judged.
    """
    target = Target(config.target.metric, 1.0)
    search = make_search(space, cost_model, target, config.search, config.target)
    size = config.search.batch_size

    @jax.jit
    def right(weights, architecture, images, labels):
        gates = one_hot_gates(architecture, space.num_options, sampled=True)
        pictures = normalise(images, dataset.mean, dataset.std)
        return (jnp.argmax(search.logits(weights, pictures, gates), -1) == labels).sum()

    def accuracy(weights: np.ndarray, architecture: np.ndarray, rows: np.ndarray) -> float:
        rows = rows[: len(rows) // size * size].reshape(-1, size)
        counts = [
            int(right(weights, architecture, dataset.train_inputs[r], dataset.train_targets[r]))
            for r in rows
        ]
        return sum(counts) / rows.size

    return accuracy
