"""Builds a search space from its name and options, or from the description that a file holds."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from annotated_types import Interval, Len

from hwnas_jax.errors import UserError
from hwnas_jax.files.typed import check_value
from hwnas_jax.nn.outputs import Output, num_channels
from hwnas_jax.registry import Part
from hwnas_jax.spaces.base import SPACES, Space

T = TypeVar("T")

_Size = Annotated[int, Interval(gt=0, le=1_000_000)]


def make_space(
    name: str,
    args: Mapping[str, Any],
    *,
    input_shape: Sequence[int],
    num_outputs: int,
    outputs: Sequence[Output] = (),
    off: Mapping[str, Sequence[str]] | None = None,
) -> Space:
    """Builds a search space by name.

    Args:
      name: a name in `SPACES`, an entry point, or a Python path (`my_space.py:MySpace`), which is
        imported. Only a name that the user gave may come here; files are read by `from_spec`.
      args: the space's own options.
      input_shape: of one example, channels last.
      num_outputs: outputs of the network.
      outputs: what the network puts out, as `Task.outputs` says; one vector of `num_outputs` if
        left out.
      off: options to switch off, as `Space.restricted` takes them.

    Raises:
      UserError: for an unknown space or option, a value the space refuses, or a space whose
        networks are too large or cannot put out what `outputs` asks for.
    """
    _check_sequences(name, input_shape)
    space = SPACES.make(
        Part(name, dict(args)), input_shape=tuple(input_shape), num_outputs=num_outputs,
        **_given_outputs(name, num_outputs, tuple(outputs)),
    )  # fmt: skip
    if name not in SPACES:
        space.registered_as = name
    return space.restricted(off) if off else space


def _check_sequences(name: str, input_shape: Sequence[int]) -> None:
    """Raises UserError for sequences where the space has no networks for them."""
    flat = len(input_shape) == 3 and input_shape[0] == 1 != input_shape[1]
    if flat and not SPACES.find(name).takes_sequences:
        able = ", ".join(space for space in SPACES if SPACES[space].takes_sequences)
        raise UserError(
            f"the search space {name} has no networks for sequences, which are images one pixel "
            f"high, {tuple(input_shape)}; these have: {able}"
        )


@dataclasses.dataclass(frozen=True)
class _DescribedOutput:
    """One of the outputs of a network; see `hwnas_jax.nn.outputs.Output`."""

    channels: _Size
    dense: bool = False


def _given_outputs(name: str, num_outputs: int, outputs: tuple[Output, ...]) -> dict[str, Any]:
    """Returns the outputs as a keyword of the space's constructor; nothing for one plain vector."""
    if outputs in ((), (Output(num_outputs),)):
        return {}
    if num_channels(outputs) != num_outputs:
        raise UserError(
            f"the outputs have {num_channels(outputs)} channels together, but num_outputs is "
            f"{num_outputs}"
        )
    if not SPACES.find(name).takes_outputs:
        able = ", ".join(space for space in SPACES if SPACES[space].takes_outputs)
        wanted = "several tasks at once" if len(outputs) > 1 else "an output for every position"
        raise UserError(f"the search space {name} has no networks for {wanted}; these have: {able}")
    return {"outputs": outputs}


@dataclasses.dataclass(frozen=True)
class _Description:
    """What `Space.spec` says of a space; sizes are small enough for a network to be built."""

    name: str
    args: dict[str, Any]
    input_shape: Annotated[tuple[_Size, ...], Len(1, 3)]
    num_outputs: _Size
    outputs: Annotated[tuple[_DescribedOutput, ...], Len(0, 16)] = ()
    off: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


def checked_description(kind: type[T], spec: Any) -> T:
    """Returns the description of a space from a file as a dataclass; UserError when it is none."""
    try:
        return check_value(kind, spec, "description")
    except UserError as error:
        raise UserError(f"the description of the space: {error}") from error


def from_spec(spec: dict[str, Any]) -> Space:
    """Builds the space that `Space.spec` described.

    The description comes from a file, and a file may not start code. A space of the user's own is
    therefore refused until the user has named it.

    Raises:
      UserError: when the description is incomplete, or names a space that is not there or whose
        code would have to be imported.
    """
    described = checked_description(_Description, spec)
    name = described.name
    if ":" in name and not SPACES.is_known(name):
        raise UserError(
            f"the search space is {name}, whose code a file may not start; name it yourself "
            f"with --space.name {name}"
        )
    return make_space(
        name, described.args, input_shape=described.input_shape,
        num_outputs=described.num_outputs, off=described.off,
        outputs=tuple(Output(one.channels, one.dense) for one in described.outputs),
    )  # fmt: skip
