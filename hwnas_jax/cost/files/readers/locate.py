"""Finds published data: at a given path, or by its name in the folder `HWNAS_DATA`."""

import os
from pathlib import Path

from hwnas_jax.errors import UserError, nearest

_SUFFIXES = ("", ".npz", ".csv", ".pickle", ".pickle.pbz2", ".pth")


def find_data(name: str | Path) -> Path:
    """Returns the file or folder that `name` means.

    Args:
      name: a path, or the name of something in the folder to which the environment variable
        `HWNAS_DATA` points. A suffix such as `.npz` may be left out of a name.

    Raises:
      UserError: when nothing is there; says both ways to name data.
    """
    given = Path(name).expanduser()
    if given.exists():
        return given
    told = os.environ.get("HWNAS_DATA")
    if not told:
        raise UserError(
            f"there is no data {given}: give a path, or set HWNAS_DATA to the folder that holds it"
        )
    folder = Path(told).expanduser()
    if not folder.is_dir():
        raise UserError(f"there is no data {given}, and HWNAS_DATA={told} is no folder")
    for suffix in _SUFFIXES:
        found = folder / f"{given}{suffix}"
        if found.exists():
            return found
    close = nearest(given.stem, sorted(path.stem for path in folder.iterdir()))
    hint = f"; did you mean {close!r}?" if close else ""
    raise UserError(
        f"there is no data {given}, neither at that path nor in HWNAS_DATA={told}{hint}"
    )
