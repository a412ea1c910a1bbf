"""Where a network stands among those of a table.

Legend: `N` networks of the table, `D` decisions.
"""

import math

import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices
from hwnas_jax.tabular.base import Benchmark, look_up


def check_decisions(space: Choices, other: Choices, source: str) -> None:
    """Refuses a table whose architectures are not those of a space.

    The size of the networks may differ: the decisions and their options must agree.

    Args:
      space: that was searched.
      other: of the table.
      source: names the table.

    Raises:
      UserError: names both spaces and their decisions.
    """
    if other.decisions == space.decisions:
        return
    theirs, ours = _decisions(other), _decisions(space)
    if theirs == ours:
        pairs = zip(other.decisions, space.decisions, strict=True)
        differing = next(pair for pair in pairs if pair[0] != pair[1])
        theirs, ours = (f"{one.name}: {', '.join(one.options)}" for one in differing)
    raise UserError(
        f"the table {source} is of {other.name}, whose decisions are {theirs}; those of "
        f"{space.name} are {ours}"
    )


def known_networks(table: Benchmark, space: Choices) -> tuple[np.ndarray, np.ndarray]:
    """Returns the networks of a table that a space has, and what the table reports of them.

    Architectures that build one network count once, by their canonical form; where the table
    lacks that form the network is left out.

    Args:
      table: its decisions are those of the space.
      space: options that are switched off in it, and what is no member of it, are left out.

    Returns:
      `int32[N, D]`, ordered by the options, and `float64[N]`.
    """
    metric = table.report
    every, _ = table.listed(metric)
    allowed = space.mask[np.arange(space.num_decisions), every].all(axis=1)
    every = every[allowed]
    every = every[space.feasible(every)]
    networks = np.unique(space.canonical(every), axis=0)
    found = look_up(space, {metric: table.metrics[metric]}, networks)[metric]
    values = np.asarray(found, np.float64)
    known = ~np.isnan(values)
    return networks[known], values[known]


def percentile(value: float, others: np.ndarray) -> float | None:
    """Returns how much of `others` (`float[N]`) is worse than `value`, in percent.

    Equal values count half. It is 100 for what is better than all others, and None where there
    are no others.

    >>> percentile(3.0, np.array([1.0, 2.0, 3.0, 4.0]))
    62.5
    """
    if not len(others) or math.isnan(value):
        return None
    worse = (others < value).sum() + (others == value).sum() / 2
    return float(100 * worse / len(others))


def _decisions(space):
    names = [f"{decision.name} of {len(decision.options)}" for decision in space.decisions[:8]]
    return ", ".join(names) + (", ..." if len(space.decisions) > 8 else "")
