"""How much work a search space may mean: bounds that hold for every space, a user's own included.

The options of the built-in spaces have ranges of their own. These bounds are for what several
options mean together, and for spaces that nobody here knows.
"""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from hwnas_jax.errors import UserError, shown
from hwnas_jax.spaces.core.choices import Choices

MOST_LAYERS = 4096
"""Operations of one network, and decisions of a space."""
MOST_OPTIONS = 32_768
"""Options of all decisions together. The number of architectures then has under 4,300 digits, the
most that Python writes."""
MOST_OPERATIONS = 4096
"""Different operations of a space, each of which is built once to count its weights."""
MOST_PLACES = 2**20
"""Places where the operations of a space stand."""
_MOST_VALUES = 2**26
"""Numbers in one example."""
_MOST_OUTPUTS = 2**20


def check_examples(input_shape: Sequence[Any], num_outputs: Any) -> None:
    """Checks the shape of an example and the number of outputs before a space is built for them.

    Raises:
      UserError: for more than three dimensions, for anything but whole numbers above zero, and for
        examples or outputs that are too large.
    """
    sizes = list(input_shape)
    values = 1
    for size in [*sizes, num_outputs]:
        whole = isinstance(size, numbers.Integral) and not isinstance(size, bool)
        if not whole or size < 1 or len(sizes) not in (1, 2, 3):
            raise UserError(
                f"a search space needs examples of one to three dimensions, such as (32, 32, 3), "
                f"and a number of outputs, all whole numbers above 0; got {shown(tuple(sizes))} "
                f"and {shown(num_outputs)}"
            )
    for size in sizes:
        values *= int(size)
    if values > _MOST_VALUES or num_outputs > _MOST_OUTPUTS:
        raise UserError(
            f"examples of the shape {shown(tuple(sizes))} and {shown(num_outputs)} outputs are too "
            f"large: at most {_MOST_VALUES} numbers in an example and {_MOST_OUTPUTS} outputs are "
            f"allowed"
        )


def check_extent(space: Choices, num_layers: int, given: Mapping[str, Any]) -> None:
    """Checks that the networks of a space are not too large to be built.

    Args:
      space: the decisions.
      num_layers: how many operations the largest network has.
      given: the options that the space was made with, for the message.

    Raises:
      UserError: names the options, the size, and what is allowed.
    """
    options = sum(len(decision.options) for decision in space.decisions)
    for count, most, what in (
        (space.num_decisions, MOST_LAYERS, "decisions"),
        (num_layers, MOST_LAYERS, "operations in a network"),
        (options, MOST_OPTIONS, "options of all decisions together"),
    ):
        if count > most:
            raise too_much(count, most, what, given)


def too_much(count: int, most: int, what: str, given: Mapping[str, Any] | None = None) -> UserError:
    """Returns the error that tells of a space that is too large.

    Args:
      count: how many of something the space has.
      most: how many it may have.
      what: what is counted, in the plural.
      given: the options that the space was made with, where they are known.
    """
    options = ", ".join(f"{key} = {shown(value)}" for key, value in (given or {}).items())
    return UserError(
        f"the search space with {options or 'these options'} has {count} {what}; at most {most} "
        f"are allowed, so ask for fewer layers, cells, blocks or options"
    )
