"""Variables of modules that are cheap to set while JAX traces."""

from typing import Any


class Replaced:
    """A mixin for kinds of `nnx.Variable`: setting the variable replaces its array, without checks.

    nnx compares the devices of the old and the new array. For a traced array this raises an error
    inside, and the text of the error is made from the whole trace so far. Tracing a network then
    takes time quadratic in its layers, most of it here.
    """

    def set_value(self, value: Any, *, index: Any = ...) -> None:
        """Sets the whole array; a part of it cannot be set."""
        assert index is ...
        super().set_value(value)  # type: ignore[misc]
