"""Checks that every search space goes through when it is made, by its name or by its class.

The options of a space are checked against the annotations of its constructor, the shape of the
examples before the space is built, and the extent of its networks afterwards.
"""

import abc
import inspect
from typing import Any

from hwnas_jax.registry import SEVERAL, checked_options
from hwnas_jax.spaces.core.bounds import check_examples, check_extent

GIVEN = ("input_shape", "num_outputs", "outputs")
"""What the program passes to the constructor of a space; everything else is an option."""


class Checked(abc.ABCMeta):
    """The class of search space classes; calling such a class checks what it is given."""

    @property
    def __signature__(cls) -> inspect.Signature:
        """That of the constructor, which `inspect` would otherwise take from `__call__`."""
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Makes a space.

        Raises:
          UserError: for an option of a wrong type or out of range, examples of a shape that no
            space takes, and networks too large to be built.
        """
        try:
            bound = inspect.signature(cls).bind(*args, **kwargs)
        except TypeError:
            return super().__call__(*args, **kwargs)  # which says what is missing or too much
        parameters = bound.signature.parameters
        named = {k: v for k, v in bound.arguments.items() if parameters[k].kind not in SEVERAL}
        options = {key: value for key, value in named.items() if key not in GIVEN}
        checked_options(cls, options, f"search space {getattr(cls, 'name', cls.__name__)}", GIVEN)
        if "input_shape" in named and "num_outputs" in named:
            check_examples(named["input_shape"], named["num_outputs"])
        space = super().__call__(*args, **kwargs)
        check_extent(space, space.num_layers, options)
        return space
