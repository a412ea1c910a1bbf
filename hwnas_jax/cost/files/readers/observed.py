"""What networks cost on one device, from a measurement file or a published table.

Legend: `D` decisions, `T` rows of a table.
"""

import dataclasses
from pathlib import Path

import numpy as np

from hwnas_jax.cost.files.measurement_file import begins_json, load_measurements
from hwnas_jax.cost.files.measurements import Origin
from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.files.readers.load import load_table
from hwnas_jax.cost.files.readers.locate import find_data
from hwnas_jax.cost.files.sheet import header_of
from hwnas_jax.cost.files.unit_checks import disconnected
from hwnas_jax.cost.files.unit_doubts import measurement_doubts
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core.published import choices_from_spec

_START = 1 << 16


@dataclasses.dataclass(frozen=True)
class Observed:
    """Observations of one device and where they come from.

    Attributes:
      space: the search space of the networks.
      observations: what a model is fitted to or compared with.
      source: the file and the device, for people.
      notes: sentences for people.
      origin: the device and how its figures were taken.
    """

    space: Choices
    observations: Observations
    source: str
    notes: tuple[str, ...] = ()
    origin: Origin | None = None


def load_observations(
    path: str | Path,
    *,
    device: str | None = None,
    task: str | None = None,
    space: Choices | None = None,
    numbered: np.ndarray | None = None,
) -> Observed:
    """Reads the observations of one device.

    Args:
      path: a measurement file or anything that `load_table` reads.
      device: which device, for a table of several.
      task: which task, for a table of several; None takes the first.
      space: the space it must be of; None takes the space that the file names.
      numbered: `int32[T, D]`, what the numbers in a column `index` mean, counted from 0.

    Raises:
      UserError: names the file and what is wrong with it, or lists the devices of the table.
    """
    found = find_data(path)
    if device is None and task is None and _is_measurements(found):
        measured = load_measurements(found, space, numbered=numbered)
        space = choices_from_spec(measured.space) if space is None else space
        observations = measured.observations(space)
        doubts = measurement_doubts(measured, space)
        notes = (*measured.notes, *doubts, *_cut(space, observations))
        origin = measured.origin
        return Observed(
            space, observations, f"{found.name}, {origin.name} ({origin.source})", notes, origin
        )
    table = load_table(found, task=task, space=space, numbered=numbered)
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
    return Observed(
        table.space, observations, f"{table.source}, {device}", table.notes,
        Origin({"kind": device}, source="published"),
    )  # fmt: skip


def _is_measurements(path):
    """Returns whether a file is a measurement file, which is of one device."""
    if path.is_dir():
        return False
    with path.open("rb") as file:
        start = file.read(_START)
    if len(start) == _START:
        start = start[: start.rfind(b"\n") + 1]
    if begins_json(start):
        return True
    return {"space", "device"} <= header_of(start).keys()


def _cut(space, observations):
    count = int(disconnected(space, observations.architectures).sum())
    if not count:
        return ()
    return (f"{count} of the networks have no path from input to output; they are kept",)
