"""What all readers of the published files of NAS-Bench-360 share."""

import abc
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.nasbench360.definitions import TASKS360, Task360
from hwnas_jax.data.own.source import PathSource, entries
from hwnas_jax.data.own.source import listed as listed_files
from hwnas_jax.errors import UserError, listed, shown
from hwnas_jax.files.pickles import kind_of


@dataclasses.dataclass(frozen=True)
class Published(PathSource):
    """Reads the published files of one task from a folder; `hwnas list tasks360` names them all.

    The validation part joins the train part, since searches and trainings hold out their own.

    Attributes:
      task360: short name of the task.
    """

    fits = "a folder with the files of a task of NAS-Bench-360 (hwnas list tasks360)"
    exact = True
    task360: ClassVar[str]

    examples: Annotated[int, Ge(4)] | None = None
    """how many to read of the train part, and of the test part: the first ones; None reads all"""

    @property
    def about(self) -> Task360:
        """What the task is."""
        return TASKS360[self.task360]

    @classmethod
    def holds(cls, path: Path) -> bool:
        """Returns whether a folder holds all files of the task."""
        return path.is_dir() and not _missing(path, TASKS360[cls.task360])

    def load(self) -> Dataset:
        """Returns the data set; errors as of the contract."""
        if self.path is None:
            raise UserError(f"data.name = {self.name!r} needs data.path: {self._needed()}")
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
            return super().load()

    def read(self, path: Path) -> Dataset:
        """Returns the data set of a folder; a file in it may be given as well."""
        folder = path.parent if path.is_file() else path
        missing = _missing(folder, self.about)
        if missing:
            raise UserError(
                f"{folder} holds {listed_files(entries(folder))}; missing is {', '.join(missing)}. "
                f"data.name = {self.name!r} needs {self._needed()}"
            )
        return self.read_folder(folder)

    @abc.abstractmethod
    def read_folder(self, folder: Path) -> Dataset:
        """Returns the data set of a folder that holds the files of the task.

        Raises:
          UserError: names the file and what is wrong with it.
        """

    def _needed(self) -> str:
        task = self.about
        return f"a folder with {', '.join(task.files)}, published at {task.where}"

    def dataset(
        self, train: tuple[Any, Any], test: tuple[Any, Any], names: tuple[str, ...]
    ) -> Dataset:
        """Returns the data set of two parts, inputs and targets each."""
        task = self.about.task
        return Dataset(self.name, *train, *test, output_names=names, task=task, movable=False)

    def classes(self, labels: Any, count: int, where: str, first: int = 0) -> np.ndarray:
        """Returns numbers of classes from zero on, `int32[N]`.

        Args:
          labels: `[N]`, whole numbers from `first` on, of any type.
          count: of classes.
          where: begins messages.
          first: the number of the first class in the file.

        Raises:
          UserError: when they are no whole numbers in that range.
        """
        given = checked(labels, 1, where)
        with np.errstate(invalid="ignore"):  # what is no number differs from any whole one
            numbers = given.astype(np.int64)
        low, high = first, first + count - 1
        if (numbers != given).any() or numbers.min() < low or numbers.max() > high:
            raise UserError(
                f"{where} must be whole numbers from {low} to {high}; they run from {given.min()} "
                f"to {given.max()}"
            )
        return (numbers - first).astype(np.int32)


def _missing(folder: Path, task: Task360) -> list[str]:
    """Returns which files of a task are not in a folder; those that end in `/` are folders."""
    return [
        name
        for name in task.files
        if not ((folder / name).is_dir() if name.endswith("/") else (folder / name).is_file())
    ]


def checked(value: Any, axes: int, where: str, sizes: tuple[int | None, ...] = ()) -> np.ndarray:
    """Returns a value of a file as an array of numbers.

    Args:
      value: array, list or anything else that a file held.
      axes: how many it must have.
      where: begins messages.
      sizes: of its last axes; None for any.

    Raises:
      UserError: when it is no array of numbers, or has another form.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise UserError(f"{where} is no array: {error}") from error
    fits = array.ndim == axes and array.size > 0 and array.dtype.kind in "biuf"
    found = array.shape[len(array.shape) - len(sizes) :]
    if not fits or any(s not in (None, f) for s, f in zip(sizes, found, strict=True)):
        wanted = ["N", *"?" * (axes - 1 - len(sizes)), *(s or "?" for s in sizes)][-axes:]
        raise UserError(
            f"{where} must be numbers [{', '.join(map(str, wanted))}], got "
            f"{array.dtype}{list(array.shape)}"
        )
    return array


def opened(read: Callable[[Path], Any], path: Path) -> Any:
    """Returns what `read` returns of a file; errors name the file."""
    try:
        return read(path)
    except UserError as error:
        said = str(error)
        raise error if str(path) in said else UserError(f"{path}: {said}") from error


def member(value: Any, key: str, where: str) -> Any:
    """Returns what a file holds by a name; UserError when it holds no such name."""
    if not isinstance(value, dict) or key not in value:
        names = isinstance(value, dict) and listed([shown(name) for name in value])
        raise UserError(f"{where} must hold {key!r}; it holds {names or kind_of(value)}")
    return value[key]
