"""Logged rows as arrays that a figure can draw.

Legend: `T` rows.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Rows = Sequence[Mapping[str, Any]]


def column(rows: Rows, key: str) -> np.ndarray:
    """Returns one logged value over time, `float[T]`; NaN where it is null or absent."""
    return np.array([math.nan if row.get(key) is None else row[key] for row in rows], float)


def best_within_budget(rows: Rows) -> np.ndarray:
    """Returns a strategy's best score so far, `float[T]`; NaN before anything met the budget.

    A log has a zero there, which could as well be a score.
    """
    best, share = column(rows, "best"), column(rows, "within_budget")
    return np.where(np.nancumsum(share) > 0, best, math.nan)


def evenly_spread(length: int, most: int) -> np.ndarray:
    """Returns at most `most` evenly spread indices below `length`, the first and last included."""
    return np.unique(np.linspace(0, length - 1, min(length, max(most, 2))).round().astype(int))


def by_member(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Returns the rows of each search by its label; those of a single search have the label ""."""
    members: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        members.setdefault(str(row.get("member") or ""), []).append(row)
    return members
