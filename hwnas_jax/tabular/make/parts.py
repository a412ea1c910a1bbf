"""The folder beside a table that is being made: what is done lies there in parts.

A part is a file with the results of some networks, written whole or not at all. A process that
works on a part holds a lock on it. The system frees the lock when the process ends, however it
ends, so that another takes the part over and nothing is done twice.

    plan.json           what the table is of; every process must mean the same
    <part>.npz          results
    <part>.lock         held while the part is made
"""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from hwnas_jax.errors import UserError, listed, shortened
from hwnas_jax.files.json_files import write_json
from hwnas_jax.files.npz import Array, read_npz, write_npz
from hwnas_jax.files.typed import read_typed

_FORMAT = "hwnas_jax.table_plan"


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What `plan.json` holds."""

    plan: dict[str, Any]


class Parts:
    """The parts of one table.

    Attributes:
      folder: where they lie.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def beside(cls, table: Path) -> "Parts":
        """Returns the parts of the table that a file will hold."""
        return cls(table.with_name(f"{table.name}.parts"))

    def begin(self, plan: Mapping[str, Any]) -> bool:
        """Makes the folder, or goes on with one of the same plan.

        Args:
          plan: what the table is of; plain JSON values.

        Returns:
          Whether the folder was there.

        Raises:
          UserError: names what differs from the plan of the folder.
        """
        own = json.loads(json.dumps(dict(plan)))
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "plan.json"
        with FileLock(self.folder / "plan.lock"):
            if not path.exists():
                write_json(path, {"format": _FORMAT, "version": 1, "plan": own})
                return False
            held = read_typed(path, _Plan, "plan of a table", file_format=_FORMAT).plan
        differing = [key for key in {**held, **own} if held.get(key) != own.get(key)]
        if differing:
            names = [shortened(key) for key in differing]
            values = [f"{held.get(key)!r:.90}" for key in differing]
            told = "; ".join(map(": ".join, zip(names, values, strict=True)))
            raise UserError(
                f"{self.folder} holds the parts of a table that differs in {listed(names)} "
                f"({told}): go on with those settings, name another file with --out, or remove it"
            )
        return True

    def has(self, name: str) -> bool:
        """Returns whether a part is done."""
        return self._path(name).exists()

    def read(self, name: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        """Returns the arrays of a part, which must have these shapes.

        Raises:
          UserError: when the file is damaged; removing it makes it again.
        """
        path = self._path(name)
        try:
            known = {key: Array("number", shape, finite=False) for key, shape in shapes.items()}
            return read_npz(path, known)
        except UserError as error:
            raise UserError(f"part {path}: {error}; remove it and it is made again") from error

    def write(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Writes a part, which the process has claimed."""
        write_npz(self._path(name), arrays)

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Yields whether this process may do something now; no other does meanwhile.

        Args:
          name: of what is to be done.
        """
        lock = FileLock(self.folder / f"{name}.lock")
        try:
            lock.acquire(blocking=False)
        except (Timeout, FileNotFoundError):  # another has it, or has ended and removed the folder
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"
