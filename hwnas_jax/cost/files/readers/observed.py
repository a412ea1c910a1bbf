"""What networks cost on one device, from a measurement file or a published table."""

import dataclasses
from pathlib import Path

from hwnas_jax.cost.files.measurement_file import load_measurements
from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.files.readers.load import load_table
from hwnas_jax.cost.files.readers.locate import find_data
from hwnas_jax.cost.files.unit_checks import disconnected
from hwnas_jax.cost.files.unit_doubts import measurement_doubts
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core.published import choices_from_spec


@dataclasses.dataclass(frozen=True)
class Observed:
    """Observations of one device and where they come from.

    Attributes:
      space: the search space of the networks.
      observations: what a model is fitted to or compared with.
      source: the file and the device, for people.
      notes: sentences for people.
    """

    space: Choices
    observations: Observations
    source: str
    notes: tuple[str, ...] = ()


def load_observations(
    path: str | Path,
    *,
    device: str | None = None,
    task: str | None = None,
    space: Choices | None = None,
) -> Observed:
    """Reads the observations of one device.

    Args:
      path: a measurement file or anything that `load_table` reads.
      device: which device, for a table of several.
      task: which task, for a table of several; None takes the first.
      space: the space it must be of; None takes the space that the file names.

    Raises:
      UserError: names the file and what is wrong with it, or lists the devices of the table.
    """
    found = find_data(path)
    if device is None and task is None and _is_measurements(found):
        measured = load_measurements(found, space)
        space = choices_from_spec(measured.space) if space is None else space
        observations = measured.observations(space)
        kind = measured.device.get("kind", "an unnamed device")
        doubts = measurement_doubts(measured, space)
        notes = (*measured.notes, *doubts, *_cut(space, observations))
        return Observed(
            space, observations, f"{found.name}, {kind} ({measured.source})", notes
        )  # fmt: skip
    table = load_table(found, task=task, space=space)
    if device is None:
        if len(table.devices) > 1:
            raise UserError(
                f"table {found} has several devices, name one with --device: "
                f"{', '.join(table.devices)}"
            )
        device = table.devices[0]
    observations = table.observations(device)
    if not len(observations):
        raise UserError(f"table {found} has no network with all metrics of {device}")
    return Observed(table.space, observations, f"{table.source}, {device}", table.notes)


def _is_measurements(path):
    """Returns whether a file is a measurement file, which is of one device."""
    if path.is_dir():
        return False
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if path.suffix != ".csv":
        return start.lstrip().startswith(b"{")
    return all(f"\n# {key}:".encode() in b"\n" + start for key in ("space", "device"))


def _cut(space, observations):
    count = int(disconnected(space, observations.architectures).sum())
    if not count:
        return ()
    return (f"{count} of the networks have no path from input to output; they are kept",)
