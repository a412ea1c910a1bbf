"""Checks of what a user gives as arguments of a search space."""

import itertools
from collections.abc import Sequence

from hwnas_jax.errors import UserError


def whole(name: str, value: object, least: int, most: int) -> int:
    """Returns `value` when it is a whole number from `least` to `most`.

    Raises:
      UserError: names the argument, what was given and what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UserError(
            f"space.args.{name} must be a whole number from {least} to {most}, got {value!r}"
        )
    return value


def factor(name: str, value: object, most: float = 8) -> float:
    """Returns `value` as a float when it is above zero and at most `most`.

    Raises:
      UserError: names the argument, what was given and what is allowed.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= most:  # type: ignore[operator]
        raise UserError(f"space.args.{name} must be above 0 and at most {most:g}, got {value!r}")
    return float(value)  # type: ignore[arg-type]


def rising(name: str, given: Sequence[int] | str, *, least: int = 1) -> tuple[int, ...]:
    """Returns the numbers of a list or of "3,5,7".

    Raises:
      UserError: unless they are whole numbers that rise, from `least` up.
    """
    words = given.split(",") if isinstance(given, str) else given
    try:
        numbers = tuple(int(word) for word in words)
    except (TypeError, ValueError):
        numbers = ()
    falls = any(a >= b for a, b in itertools.pairwise(numbers))
    if not numbers or numbers[0] < least or falls:
        raise UserError(
            f"space.args.{name} must be whole numbers from {least} up that rise, such as "
            f"{least},{least + 1}; got {given!r}"
        )
    return numbers


def halve(strides: Sequence[int], halvings: int, size: tuple[int, int]) -> list[int]:
    """Returns the strides less those of the first halvings beyond `halvings`.

    Raises:
      UserError: when images of `size` cannot be halved that often.
    """
    kept = list(strides)
    surplus = kept.count(2) - halvings
    for number, stride in enumerate(kept):
        if stride == 2 and surplus > 0:
            kept[number], surplus = 1, surplus - 1
    times = kept.count(2)
    if min(size) < 2**times:
        raise UserError(
            f"images of {size[0]}x{size[1]} cannot be halved {times} times; "
            f"space.args.halvings may be at most {min(size).bit_length() - 1}"
        )
    return kept
