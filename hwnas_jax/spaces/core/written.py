"""Reads an architecture in any form that people give it in; nothing else reads one.

Legend: `D` decisions, `T` rows of a table.
"""

import numbers
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from hwnas_jax.errors import UserError, shortened, shown
from hwnas_jax.spaces.core.choices import Choices

_LIST = re.compile(r"[\[(]([0-9,;\s]*)[\])]", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


def as_architecture(
    space: Choices, given: Any, *, numbered: np.ndarray | None = None
) -> np.ndarray:
    """Returns the architecture `int32[D]` that something means.

    A text that the notation of the space reads is in this notation, even where it is a number, as
    in `nasbench_macro`, which writes eight digits. Only another number counts the rows of a table.

    Args:
      space: the space of the architecture.
      given: a text in the notation of the space; the numbers of the options, counted from 0, as a
        text in brackets, a list or `int[D]`; a mapping from decisions to options; or the number of
        a row of a table, counted from 0, as a text or an integer.
      numbered: `int32[T, D]`, the rows of that table. None where there is no table, so that a
        number is refused.

    Raises:
      UserError: for what is no architecture of the space; names the nearest option.

    >>> from hwnas_jax.spaces.core.choices import Decision
    >>> space = Choices("toy", (Decision("a", ("x", "y")), Decision("b", ("x", "y"))))
    >>> as_architecture(space, "y/x"), as_architecture(space, "[1, 0]")
    (array([1, 0], dtype=int32), array([1, 0], dtype=int32))
    >>> as_architecture(space, "1", numbered=np.array([[0, 0], [0, 1]]))
    array([0, 1], dtype=int32)
    """
    if isinstance(given, str):
        return _of_text(space, given, numbered)
    if isinstance(given, Mapping):
        return space.from_names(dict(given))
    if isinstance(given, numbers.Integral) and not isinstance(given, bool):
        return _of_row(space, int(given), numbered)
    try:
        array = np.asarray(given)
    except ValueError:  # lists of several lengths
        array = np.zeros(0)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise UserError(
            f"{shown(given)} is no architecture: give a text in the notation of {space.name}, a "
            "mapping from decisions to options, or the whole numbers of the options"
        )
    return space.from_numbers(array.tolist())


def _of_text(space: Choices, text: str, numbered: np.ndarray | None) -> np.ndarray:
    listed = _LIST.fullmatch(text.strip())
    if listed is not None:
        words = re.findall(r"\d+", listed[1])
        if any(_NUMBER.fullmatch(word) is None for word in words):
            raise UserError(f"{shown(text)} has a number of too many digits")
        return space.from_numbers([int(word) for word in words])
    try:
        return space.from_string(text)
    except UserError:
        if _NUMBER.fullmatch(text.strip()) is None:
            raise
    return _of_row(space, int(text), numbered)


def _of_row(space: Choices, row: int, numbered: np.ndarray | None) -> np.ndarray:
    if numbered is None:
        raise UserError(
            f"{row} counts the rows of a table, and there is none to look it up in; an "
            f"architecture of {space.name} is also its text or the list of its options, such as "
            f"{_example(space)}"
        )
    if not 0 <= row < len(numbered):
        raise UserError(f"row {row} is not in the table: its rows are 0 to {len(numbered) - 1}")
    return space.from_numbers(np.asarray(numbered[row]).tolist())


def _example(space: Choices) -> str:
    first = space.mask.argmax(axis=1)
    return f"{shown(space.to_string(first))} or {shortened(first.tolist())}"
