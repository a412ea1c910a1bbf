"""Architectures that a person gives from Python, in any of their forms.

Legend: `n` architectures, `D` decisions.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from hwnas_jax.cost.files.readers.numbered import read_architecture
from hwnas_jax.errors import UserError, shown
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core.written import as_architecture

Architecture = str | Mapping[str, str] | np.ndarray
"""A network: a text as `read_architecture` takes it, its options by decision, or `int[D]`."""


def as_architectures(space: Choices, given: Iterable[Architecture]) -> np.ndarray:
    """Returns architectures in any of their forms as `int32[n, D]`.

    Args:
      space: they must be of.
      given: each a text (in the space's notation, the numbers of its options as "[0,3,1]", or a
        row of a table as "TABLE:6111"), a mapping from the names of decisions to those of options,
        or `int[D]`; an array `int[n, D]` holds several.

    Raises:
      UserError: names the first that is no architecture of the space.
    """
    alone = isinstance(given, str | Mapping) or not isinstance(given, Iterable)
    several = [given] if alone else list(given)
    if not several:
        raise UserError("no architecture was given")
    found = np.stack([_as_row(space, one) for one in several])
    member = space.mask[np.arange(space.num_decisions), found].all(axis=1)
    member[member] = space.feasible(found[member])
    if not member.all():
        wrong = int(np.argmin(member))
        raise UserError(f"{space.to_string(found[wrong])} is no member of {space.name} here")
    return found


def _as_row(space: Choices, one: Any) -> np.ndarray:
    if isinstance(one, str):
        return read_architecture(one, space)
    if not isinstance(one, Iterable):
        # A list of numbers may be one architecture or rows of a table; neither is guessed.
        raise UserError(
            f"{shown(one)} is no architecture: give several of them, [[0, 3, 1, ...], ...], and "
            f'the row of a table as a text, "TABLE:6111"'
        )
    return as_architecture(space, one)
