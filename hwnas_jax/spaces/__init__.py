"""The registry of search spaces."""

import inspect
from typing import Any

from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Decision, Operation, Place, Space
from hwnas_jax.spaces.nasbench201 import NasBench201

__all__ = ["SPACES", "Decision", "Operation", "Place", "Space", "from_spec", "make_space"]

SPACES: dict[str, type[Space]] = {space.name: space for space in (NasBench201,)}


def make_space(
    name: str, args: dict[str, Any], *, input_shape: tuple[int, int, int], num_classes: int
) -> Space:
    """Builds a search space by name.

    Args:
      name: a key of `SPACES`.
      args: the space's own arguments.
      input_shape: `(H, W, C)` of one image.
      num_classes: number of classes.

    Raises:
      UserError: for an unknown space or argument, or a value the space refuses.
    """
    kind: Any = SPACES[choose(name, SPACES, "search space")]
    own = [
        parameter
        for parameter in inspect.signature(kind).parameters
        if parameter not in ("input_shape", "num_classes")
    ]
    for key in args:
        choose(key, own, f"argument of the space {name}")
    return kind(input_shape=tuple(input_shape), num_classes=num_classes, **args)


def from_spec(spec: dict[str, Any]) -> Space:
    """Builds the space that `Space.spec` described.

    Raises:
      UserError: when the description is incomplete or names what is not there.
    """
    missing = [k for k in ("name", "args", "input_shape", "num_classes") if k not in spec]
    if missing:
        raise UserError(f"the description of the space lacks {', '.join(missing)}")
    shape = spec["input_shape"]
    fine = isinstance(shape, list) and len(shape) == 3
    fine = fine and all(isinstance(n, int) and n > 0 for n in [*shape, spec["num_classes"]])
    if not (fine and isinstance(spec["name"], str) and isinstance(spec["args"], dict)):
        raise UserError(f"the description of the space is damaged: {spec}")
    return make_space(
        spec["name"], spec["args"],
        input_shape=tuple(spec["input_shape"]), num_classes=spec["num_classes"],
    )  # fmt: skip
