"""Builds a search space from its name and options, or from the description that a file holds."""

from collections.abc import Mapping, Sequence
from typing import Any

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.spaces.base import SPACES, Space


def make_space(
    name: str,
    args: Mapping[str, Any],
    *,
    input_shape: Sequence[int],
    num_outputs: int,
    off: Mapping[str, Sequence[str]] | None = None,
) -> Space:
    """Builds a search space by name.

    Args:
      name: a name in `SPACES`, an entry point, or a Python path (`my_space.py:MySpace`), which is
        imported. Only a name that the user gave may come here; files are read by `from_spec`.
      args: the space's own options.
      input_shape: of one example, channels last.
      num_outputs: outputs of the network.
      off: options to switch off, as `Space.restricted` takes them.

    Raises:
      UserError: for an unknown space or option, or a value the space refuses.
    """
    space = SPACES.make(
        Part(name, dict(args)), input_shape=tuple(input_shape), num_outputs=num_outputs
    )
    if name not in SPACES:
        space.registered_as = name
    return space.restricted(off) if off else space


def from_spec(spec: dict[str, Any]) -> Space:
    """Builds the space that `Space.spec` described.

    The description comes from a file, and a file may not start code. A space of the user's own is
    therefore refused until the user has named it.

    Raises:
      UserError: when the description is incomplete, or names a space that is not there or whose
        code would have to be imported.
    """
    missing = [k for k in ("name", "args", "input_shape", "num_outputs") if k not in spec]
    if missing:
        raise UserError(f"the description of the space lacks {', '.join(missing)}")
    shape, off = spec["input_shape"], spec.get("off", {})
    fine = isinstance(shape, list) and len(shape) in (1, 2, 3)
    fine = fine and all(isinstance(n, int) and n > 0 for n in [*shape, spec["num_outputs"]])
    fine = fine and isinstance(off, dict) and all(isinstance(o, list) for o in off.values())
    if not (fine and isinstance(spec["name"], str) and isinstance(spec["args"], dict)):
        raise UserError(f"the description of the space is damaged: {spec}")
    name = spec["name"]
    if ":" in name and not SPACES.is_known(name):
        raise UserError(
            f"the search space is {name}, whose code a file may not start; name it yourself "
            f"with --space.name {name}"
        )
    return make_space(
        name, spec["args"], input_shape=shape, num_outputs=spec["num_outputs"], off=off
    )
