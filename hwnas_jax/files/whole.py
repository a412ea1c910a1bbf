"""Writes files whole or not at all, and never through a symbolic link."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hwnas_jax.errors import UserError


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Yields a file to write into, which is renamed to `path` when all went well.

    A file or a link that has the name is replaced; what a link points to stays as it is.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    try:
        with partial.open("xb") as file:  # x: not even a link may have the name
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file as `whole` does; text is written as UTF-8, with "?" for what has no code."""
    with whole(path) as file:
        file.write(content.encode("utf-8", "replace") if isinstance(content, str) else content)


def inner_folder(folder: Path, name: str) -> Path:
    """Makes a folder inside another, if it is not there yet, and returns it.

    Raises:
      UserError: when it is a symbolic link, through which files would land elsewhere.
    """
    path = folder / name
    refuse_link(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def refuse_link(path: Path) -> None:
    """Raises UserError when something of a run folder is a symbolic link."""
    if path.is_symlink():
        raise UserError(
            f"{path} is a symbolic link, and what a run writes stays in its own folder: put what "
            "it points to in its place"
        )
