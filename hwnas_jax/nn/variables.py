"""Variables of modules that are cheap to set under a trace."""

from typing import Any


class Replaced:
    """Mixed into a kind of `nnx.Variable`: setting it replaces the array and looks at nothing else.

    nnx compares where the old and the new array lie. A traced array answers with an error, whose
    text is made from the whole trace so far: tracing a network took time in the square of its
    layers, most of it here.
    """

    def set_value(self, value: Any, *, index: Any = ...) -> None:
        """Sets the whole array; a part of it cannot be set."""
        assert index is ...
        super().set_value(value)  # type: ignore[misc]
