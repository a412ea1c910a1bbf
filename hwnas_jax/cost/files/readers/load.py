"""One function that reads every kind of published table."""

from pathlib import Path

import numpy as np

from hwnas_jax.cost.files.measurement_file import begins_json, load_measurements
from hwnas_jax.cost.files.measurements import check_spec
from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.files.readers.build_table import make_table
from hwnas_jax.cost.files.readers.compact import read_compact
from hwnas_jax.cost.files.readers.csv import read_csv
from hwnas_jax.cost.files.readers.help import read_help
from hwnas_jax.cost.files.readers.hwnasbench import read_hwnasbench
from hwnas_jax.cost.files.readers.locate import find_data
from hwnas_jax.cost.files.readers.own_table import read_own_table
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import member_names, read_npz
from hwnas_jax.files.pickles import is_torch
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core.published import choices_from_spec


def load_table(
    path: str | Path,
    *,
    task: str | None = None,
    space: Choices | None = None,
    numbered: np.ndarray | None = None,
) -> CostTable:
    """Reads a table of costs. Its kind is recognised by its content, not by its name.

    It may be a compact `.npz` table, one that `hwnas table` made, a folder of the HELP repository,
    the pickle of HW-NAS-Bench, a CSV file or a measurement file.

    Args:
      path: the file or folder, or its name in the folder `HWNAS_DATA`, where the suffix may be
        left out.
      task: which task, for data on several; None takes the first.
      space: the space it must be of. A CSV file that does not name its space needs it.
      numbered: `int32[T, D]`, what the numbers in a column `index` of a CSV file mean.

    Returns:
      The whole table, checked row by row, with `notes` on what is odd about it.

    Raises:
      UserError: names the file, and the row, of what cannot be used.
    """
    found = find_data(path)
    try:
        table = _read(found, task, space, numbered)
        if space is not None:
            check_spec(table.space.spec, space, "its networks")
        return table
    except UserError as error:
        raise UserError(f"table {found}: {error}") from error
    except OSError as error:
        raise UserError(f"table {found} cannot be read: {error.strerror}") from error


def _read(
    path: Path, task: str | None, space: Choices | None, numbered: np.ndarray | None
) -> CostTable:
    if path.is_dir():
        return read_help(path, task=task)
    with path.open("rb") as file:
        start = file.read(64)
    if is_torch(path):
        raise UserError("it is one file of torch.save: name the folder of HELP that it is in")
    if start.startswith(b"PK"):
        if "format.npy" not in member_names(path):
            return read_compact(path, task=task)
        if task is not None:
            raise UserError(f"it has no tasks, so none is called {task!r}")
        return read_own_table(path.name, read_npz(path))
    if start.startswith(b"\x80") or start[:2] in (b"(d", b"(l", b"cp", b"co", b"c_"):
        return read_hwnasbench(path, task=task)
    if task is not None:
        raise UserError(f"it has no tasks, so none is called {task!r}")
    if begins_json(start):
        return _of_measurements(path, space)
    return read_csv(path, space=space, numbered=numbered)


def _of_measurements(path, space):
    measured = load_measurements(path, space)
    space = choices_from_spec(measured.space) if space is None else space
    seen = measured.observations(space)
    if not len(seen):
        raise UserError("it holds no networks")
    device = str(measured.device.get("kind", path.stem))
    values = {metric: np.asarray(column)[None] for metric, column in seen.values.items()}
    return make_table(
        path.name, space, seen.architectures, (device,), values, batch_size=measured.batch_size
    )
