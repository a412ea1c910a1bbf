"""Sums over the places of a space: the cost of an architecture if the costs of operations add up.

Legend: `D` decisions, `K` options of the widest decision, `T` terms, `R` conditions of a term.
"""

import dataclasses
import functools
from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Space


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["values", "index"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class Terms:
    """A sum in which a term counts if all of its conditions hold.

    With gates between zero and one, the sum is the expectation under independent choices.

    Attributes:
      values: `float32[T]`.
      index: `int32[T, R]`, the conditions as positions in the flat gates. The position `D * K` is a
        condition that always holds.
    """

    values: jax.Array
    index: jax.Array

    def total(self, weight: jax.Array) -> jax.Array:
        """Returns the sum `float32[]` at gate weights `float32[D, K]`."""
        chex.assert_rank(weight, 2)
        flat = jnp.append(weight.reshape(-1), jnp.ones(1, weight.dtype))
        return (self.values * flat[self.index].prod(axis=1)).sum()


def sum_terms(space: Space, values: Mapping[str, float]) -> Terms:
    """Returns the sum of a value per operation over the places where the operations stand.

    Args:
      space: the search space.
      values: by `Operation.name`.

    Raises:
      UserError: for an operation of the space without a value.
    """
    totals = _totals(space, values)
    always = space.num_decisions * space.num_options
    width = max((len(when) for when in totals), default=1) or 1
    index = np.full((len(totals), width), always, np.int32)
    for row, when in enumerate(totals):
        for column, (decision, option) in enumerate(when):
            index[row, column] = decision * space.num_options + option
    return Terms(jnp.asarray(list(totals.values()), jnp.float32), jnp.asarray(index))


def sum_places(space: Space, values: Mapping[str, float]) -> tuple[np.ndarray, float]:
    """Returns how much each option adds to the sum, on average over the other decisions.

    This is exact if no place has more than one condition. Otherwise the other decisions of a place
    count as drawn uniformly.

    Args:
      space: the search space.
      values: by `Operation.name`.

    Returns:
      `table` (`float64[D, K]`) and `constant`, the part that every network has.

    Raises:
      UserError: for an operation of the space without a value.
    """
    table = np.zeros((space.num_decisions, space.num_options))
    widths = space.mask.sum(axis=1)
    constant = 0.0
    for when, total in _totals(space, values).items():
        if not when:
            constant += total
            continue
        chances = [1 / widths[decision] for decision, _ in when]
        mean = total * np.prod(chances)
        for (decision, option), chance in zip(when, chances, strict=True):
            table[decision, option] += mean / chance
        # Each of the first-order effects contains the mean, which must count once.
        constant -= (len(when) - 1) * mean
    return table, constant


def _totals(space, values):
    totals: dict[tuple[tuple[int, int], ...], float] = {}
    for place in space.operations()[1]:
        if place.operation not in values:
            raise UserError(f"there is no timing of the operation {place.operation!r}")
        when = tuple(sorted(place.when))
        totals[when] = totals.get(when, 0.0) + place.count * values[place.operation]
    return totals
