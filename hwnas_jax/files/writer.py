"""One writer at a time: a lock on a folder, and beside it who holds it.

The system frees the lock when the process that holds it ends, however it ends. On a file system
that knows no such locks the library makes a file in their place, which says who made it.
"""

import contextlib
import datetime
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout

from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import write_json
from hwnas_jax.files.json_text import parse_json

LOCK = ".lock"
HOLDER = ".writer.json"
"""Says who holds the lock: host, process, command, and since when."""

_LONGEST = 200


class Writer:
    """Who may write into a folder.

    Attributes:
      folder: that is written to.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._lock: Any = None
        self._depth = 0

    @contextlib.contextmanager
    def alone(self) -> Iterator[str | None]:
        """Holds the lock inside the block; a block may lie in another.

        Yields:
          Who held it last and ended without freeing it, as words for a message; None usually.

        Raises:
          UserError: names who holds the lock.
        """
        died = self._take() if self._depth == 0 else None
        self._depth += 1
        try:
            yield died
        finally:
            self._depth -= 1
            if self._depth == 0:
                (self.folder / HOLDER).unlink(missing_ok=True)
                self._lock.release()

    def _take(self) -> str | None:
        try:
            self._lock = _acquired(self.folder / LOCK)
        except Timeout:
            holder = _read(self.folder / HOLDER)
            raise UserError(
                f"{self.folder} is being written by another command{_described(holder)}. Wait "
                f"until it has ended, or stop it{_elsewhere(holder, self.folder / LOCK)}"
            ) from None
        left = _read(self.folder / HOLDER)
        with contextlib.suppress(OSError):  # the lock holds without its description
            write_json(self.folder / HOLDER, _own())
        return None if left is None else _described(left).removeprefix(": ") or "a command"


def _acquired(path: Path) -> Any:
    lock: Any = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except (
        NotImplementedError
    ):  # the file system has no locks, and this filelock does not fall back
        lock = SoftFileLock(path)
        lock.acquire(blocking=False)
    return lock


def _own() -> dict[str, Any]:
    program, *words = sys.argv or [""]
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "command": shlex.join([Path(program).name, *words]),
        "since": datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
    }


def _read(path: Path) -> dict[str, Any] | None:
    """Returns what a file says of a holder; empty where it says nothing that can be read."""
    try:
        holder = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, UserError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _described(holder: dict[str, Any] | None) -> str:
    if not holder:
        return ""
    command, process, host, since = (
        _plain(holder.get(key)) for key in ("command", "process", "host", "since")
    )
    return f": {command} (process {process} on {host}, since {since})"


def _plain(value: Any) -> str:
    """Returns a value of a file as a short text that a terminal shows as it is."""
    return "".join(c if c.isprintable() else "?" for c in str(value)[:_LONGEST])


def _elsewhere(holder: dict[str, Any] | None, lock: Path) -> str:
    if not holder or holder.get("host") == socket.gethostname():
        return ""
    return f"; if it runs there no longer, delete {lock}"
