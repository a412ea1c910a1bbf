"""Types of the options that search spaces share, and checks that a type cannot express."""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Gt, Le

from hwnas_jax.errors import UserError, shown

Channels = Annotated[int, Ge(1), Le(4096)]
"""Channels of the first layers."""
Cells = Annotated[int, Ge(1), Le(100)]
"""Cells of a stage."""
Repeats = Annotated[int, Ge(1), Le(64)]
"""How many blocks, layers or nodes stand in a part of the network."""
Width = Annotated[float, Gt(0), Le(8)]
"""A factor on all channels."""
Halvings = Annotated[int, Ge(0), Le(5)]
"""How often the image is halved."""
Head = Annotated[int, Ge(1), Le(16_384)]
"""Channels of the last convolution."""
MOST_NUMBERS = 32
"""How many numbers an option that lists several may have."""
Numbers = Sequence[int] | str
"""Several whole numbers, as a list or as text: "3,5,7"."""


def whole(name: str, value: int, least: int, most: int) -> int:
    """Returns `value` if it is from `least` to `most`, limits that other options set.

    Raises:
      UserError: names the option, the value given and what is allowed.
    """
    if not least <= value <= most:
        raise UserError(
            f"space.args.{name} must be a whole number from {least} to {most}, got {value!r}"
        )
    return value


def numbers(
    name: str,
    given: Sequence[float] | str | float,
    least: float,
    most: float,
    *,
    kind: type[int] | type[float] = int,
) -> tuple:
    """Returns the numbers of a list or of a text such as "3,5,7", in rising order.

    Args:
      name: of the option, for messages.
      given: a list, a text, or a single number.
      least: the smallest number that is allowed.
      most: the largest.
      kind: `int` for whole numbers, `float` for any.

    Raises:
      UserError: unless they are different numbers within the limits, at most `MOST_NUMBERS`.

    >>> numbers("kernels", "5,3", 1, 9)
    (3, 5)
    """
    words = given.split(",") if isinstance(given, str) else given
    words = words if isinstance(words, Sequence) else (words,)
    if len(words) > MOST_NUMBERS:
        raise UserError(
            f"space.args.{name} lists {len(words)} numbers; at most {MOST_NUMBERS} are allowed"
        )
    try:
        found = tuple(sorted(kind(str(word)) for word in words))
    except ValueError:
        found = ()
    fine = found and least <= found[0] and found[-1] <= most
    if not fine or len(set(found)) < len(found):
        raise UserError(
            f"space.args.{name} must be different {'whole ' if kind is int else ''}numbers from "
            f"{least:g} to {most:g}, joined by commas; got {shown(given)}"
        )
    return found


def joined(values: Sequence[float]) -> str:
    """Returns numbers as the text that `numbers` reads.

    >>> joined((3, 5))
    '3,5'
    """
    return ",".join(f"{value:g}" for value in values)


def odd(name: str, sizes: Sequence[int]) -> None:
    """Raises UserError unless all kernel sizes are odd."""
    if any(size % 2 == 0 for size in sizes):
        raise UserError(f"space.args.{name} must be odd, got {joined(sizes)}")


def image(shape: Sequence[int]) -> tuple[int, int, int]:
    """Returns the shape of an image as `(H, W, C)`; a sequence is an image one pixel high.

    Raises:
      UserError: for another shape, and for a sequence that is one pixel wide.
    """
    if len(shape) != 3:
        raise UserError(
            f"this search space needs images of height, width and channels, got examples of the "
            f"shape {tuple(shape)}"
        )
    height, width, features = (int(size) for size in shape)
    if width == 1 and height > 1:
        raise UserError(
            f"a sequence is an image one pixel high, (1, {height}, {features}); got {tuple(shape)}"
        )
    return height, width, features


def extent(shape: Sequence[int]) -> int:
    """Returns the smaller of height and width of an image, or the length of a sequence.

    >>> extent((8, 6, 3)), extent((1, 64, 3))
    (6, 64)
    """
    return shape[1] if shape[0] == 1 else min(shape[:2])


def check_extent_of(shape: Sequence[int], least: int, what: str) -> None:
    """Raises UserError unless images are `least` pixels wide and high, or sequences as long.

    Args:
      shape: `(H, W, C)`.
      least: smallest extent.
      what: what needs so much, for the message.
    """
    if extent(shape) < least:
        raise UserError(
            f"{what} needs images of at least {least}x{least}, or sequences of at least {least}, "
            f"got {tuple(shape)}"
        )


def halve(strides: Sequence[int], halvings: int, size: tuple[int, int]) -> list[int]:
    """Returns the strides, the first ones set to one until only `halvings` of them are two.

    Args:
      strides: one or two each.
      halvings: how many strides of two may stay.
      size: height and width of the image.

    Raises:
      UserError: when images of this size cannot be halved that often.
    """
    kept = list(strides)
    surplus = kept.count(2) - halvings
    for number, stride in enumerate(kept):
        if stride == 2 and surplus > 0:
            kept[number], surplus = 1, surplus - 1
    times = kept.count(2)
    if extent(size) < 2**times:
        raise UserError(
            f"images of {size[0]}x{size[1]} cannot be halved {times} times; "
            f"space.args.halvings may be at most {extent(size).bit_length() - 1}"
        )
    return kept
