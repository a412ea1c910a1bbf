"""The networks of a published table that a search could have found, and which keep its limits.

Legend: `N` networks that the run's space and the table share, `D` decisions.
"""

import math
from typing import NamedTuple

import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.runs.parts import RunParts
from hwnas_jax.search.candidates import bounded_costs
from hwnas_jax.spaces.base import Choices
from hwnas_jax.tabular import percentile
from hwnas_jax.tabular.base import numbers_of

LEAST_USED = 0.97
"""Share of the target that a network of the cost window uses at least."""


class Field(NamedTuple):
    """The networks that a search could have found, with what the table and the limits say of them.

    Attributes:
      networks: `int32[N, D]`, each in its canonical form, once.
      numbers: `int[N]`, of the architectures, as `hwnas_jax.tabular.base` counts them.
      quality: `float64[N]`, what the table reports; more is better.
      feasible: `bool[N]`, predicted to keep every limit.
      window: `bool[N]`, those of them that use at least `LEAST_USED` of the target.
    """

    networks: np.ndarray
    numbers: np.ndarray
    quality: np.ndarray
    feasible: np.ndarray
    window: np.ndarray


class Standing(NamedTuple):
    """Where one network stands in a field.

    Attributes:
      number: of its canonical form.
      quality: what the table reports; NaN for what it lacks.
      window_percentile: the share of the other networks of the window that are worse, in percent;
        None where that says nothing.
      feasible_percentile: likewise of all feasible networks.
    """

    number: int
    quality: float
    window_percentile: float | None
    feasible_percentile: float | None


class Costs(NamedTuple):
    """What networks are predicted to cost.

    Attributes:
      predicted: `float[N]`, in the unit of the target's metric.
      feasible: `bool[N]`, whether each keeps every limit, with the run's confidence if it has one.
      used: `float[N]`, the share of the target that each uses.
    """

    predicted: np.ndarray
    feasible: np.ndarray
    used: np.ndarray


def costs_of(run: RunParts, target: Target, networks: np.ndarray) -> Costs:
    """Returns what the run's cost model says of networks, `int32[N, D]`."""
    predicted, bounds = bounded_costs(run.space, run.cost_model, target, networks)
    used = {metric: bounds[metric] / limit for metric, limit in target.limits.items()}
    feasible = np.all([share <= 1.0 for share in used.values()], axis=0)
    return Costs(predicted, feasible, used[target.metric])


def field_of(run: RunParts, target: Target, networks: np.ndarray, quality: np.ndarray) -> Field:
    """Returns the field of one search.

    Args:
      run: its cost model predicts what networks cost.
      target: of the search.
      networks: `int32[N, D]`, as `hwnas_jax.tabular.known_networks` returns them.
      quality: `float64[N]`, likewise.
    """
    costs = costs_of(run, target, networks)
    window = costs.feasible & (costs.used >= LEAST_USED)
    return Field(networks, numbers_of(run.space, networks), quality, costs.feasible, window)


def standing_in(field: Field, space: Choices, architecture: np.ndarray) -> Standing:
    """Returns where a network, `int32[D]`, stands in a field of its space."""
    number = int(numbers_of(space, space.canonical(architecture[None]))[0])
    here = field.numbers == number
    value = float(field.quality[here][0]) if here.any() else math.nan
    return Standing(
        number, value, percentile(value, field.quality[field.window & ~here]),
        percentile(value, field.quality[field.feasible & ~here]),
    )  # fmt: skip
