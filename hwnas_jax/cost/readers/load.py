"""One way in for every published table, whatever it looks like inside."""

from pathlib import Path

from hwnas_jax.cost.observations import CostTable
from hwnas_jax.cost.readers.compact import read_compact
from hwnas_jax.cost.readers.locate import find_data
from hwnas_jax.errors import UserError


def load_table(path: str | Path, *, task: str | None = None) -> CostTable:
    """Reads a published table of costs; what it is shows in its content, not in its name.

    Args:
      path: the file; or its name in the folder `HWNAS_DATA`, where the suffix may be left out.
      task: for a file that holds several tasks, which one; the first when left out.

    Returns:
      The whole table, checked row by row, with `notes` on what is odd in it.

    Raises:
      UserError: names the file, and the row, of what cannot be used.
    """
    found = find_data(path)
    try:
        return read_compact(found, task=task)
    except UserError as error:
        raise UserError(f"table {found}: {error}") from error
