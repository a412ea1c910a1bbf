"""Variables of modules: a kind that is cheap to set while JAX traces, and copies of weights."""

from typing import Any

from flax import nnx


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


def copy_first_weights(target: Any, source: Any) -> None:
    """Copies as many weights of each array as a module of the same structure has room for.

    Args:
      target: the module to change; its arrays may be shorter along any axis.
      source: the module that has the weights.
    """
    room = dict(nnx.to_flat_state(nnx.state(target, nnx.Param)))
    given = dict(nnx.to_flat_state(nnx.state(source, nnx.Param)))
    first = {
        path: nnx.Param(value[...][tuple(map(slice, room[path].shape))])
        for path, value in given.items()
    }
    nnx.update(target, nnx.from_flat_state(first))


def copy_weights(target: Any, source: Any, *parts: str) -> None:
    """Copies the parameters of one module into another of the same structure.

    Args:
      target: the module to change.
      source: the module that has the weights.
      *parts: names of submodules to copy, where a part may be None; the whole module by default.
    """
    pairs = [(getattr(target, part), getattr(source, part)) for part in parts]
    for own, given in pairs if parts else [(target, source)]:
        if own is not None:
            nnx.update(own, nnx.state(given, nnx.Param))
