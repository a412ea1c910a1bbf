"""What all sources share that read files of the user's own."""

import abc
import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from annotated_types import Gt, Lt

from hwnas_jax.compile.ahead import available_bytes
from hwnas_jax.data.base import Source
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.own.parts import Meaning
from hwnas_jax.data.own.targets import TaskName
from hwnas_jax.errors import UserError

_GIB = 2**30
_SHARE = 0.5  # of the free memory, as data are copied where their type changes
_LISTED = 12


@dataclasses.dataclass(frozen=True)
class PathSource(Source):
    """Reads `path`; see each source for what that must be."""

    path: str | None = None
    """the file or folder"""
    memory_gib: Annotated[float, Gt(0)] | None = None
    """most memory that the data may take once they are read, in GiB; None takes half of what is
    free"""

    @abc.abstractmethod
    def read(self, path: Path) -> Dataset:
        """Returns the data set of a path that exists.

        Raises:
          UserError: names the file and what is wrong with it.
        """

    def load(self) -> Dataset:
        """Returns the data set.

        Raises:
          UserError: when there is no such path, or it cannot be read; names the file.
        """
        if self.path is None:
            raise UserError(f"data.name = {self.name!r} needs data.path: {self.fits}")
        path = Path(self.path).expanduser()
        if not path.exists():
            raise UserError(f"data.path = {self.path!r}: there is no such file or folder")
        try:
            return self.read(path)
        except OSError as error:
            raise UserError(
                f"cannot read {error.filename or path}: {error.strerror or error}"
            ) from error
        except MemoryError as error:
            raise UserError(f"{path} does not fit into memory: {error}") from error

    def check_fits(self, nbytes: int, what: str) -> None:
        """Refuses data that are too large, before any are read.

        Args:
          nbytes: that they take in memory.
          what: names them.

        Raises:
          UserError: names both sizes and what helps.
        """
        free = available_bytes()
        limit = None if free is None else _SHARE * free
        said = "half of the memory that is free"
        if self.memory_gib is not None:
            limit, said = self.memory_gib * _GIB, "what memory_gib allows"
        if limit is not None and nbytes > limit:
            raise UserError(
                f"{what} takes {nbytes / _GIB:.3g} GiB in memory, more than {limit / _GIB:.3g} "
                f"GiB, {said}: take fewer or smaller examples, or allow more with --data.args "
                f"memory_gib {_rounded_up(nbytes / _GIB)}"
            )


@dataclasses.dataclass(frozen=True)
class FileSource(PathSource):
    """Reads files of the user's own, whose targets may be for any of several tasks."""

    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share held out for the test where there is no test part"""
    task: TaskName | None = None
    """what the targets are for, where their type does not say it: classification, multi_label or
    regression"""

    def called(self, path: Path) -> str:
        """Returns what messages call the data set of a path: the name of its file or folder."""
        return path.absolute().stem or self.name

    @property
    def meaning(self) -> Meaning:
        """What the options say of the data."""
        return Meaning(task=self.task, test_fraction=self.test_fraction)


def _rounded_up(value: float) -> str:
    return f"{value * 1.05 + 0.01:.2f}"


def entries(folder: Path) -> list[Path]:
    """Returns what a folder holds, by name, without hidden files and those of file managers."""
    return sorted(
        Path(entry.path)
        for entry in os.scandir(folder)
        if not entry.name.startswith((".", "__MACOSX")) and entry.name not in {"Thumbs.db"}
    )


def listed(paths: Iterable[Path]) -> str:
    """Returns the names of files as text, not too many of them."""
    names = [path.name for path in paths]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more or "nothing"
