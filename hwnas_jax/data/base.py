"""Where data come from: the contract of a data source, and the registry of sources.

A `Source` is a frozen dataclass whose fields are its options; `load` returns the data as a
`Dataset`. The same options always give the same data, so that a run that is resumed reads what it
read before. `hwnas_jax.data.load_data` fills the fields `path` and `test_fraction`, where a source
has them, from the config entries of the same name.
"""

import abc
import dataclasses
from pathlib import Path
from typing import ClassVar

from hwnas_jax.data.dataset import Dataset
from hwnas_jax.registry import Registry


@dataclasses.dataclass(frozen=True)
class Source(abc.ABC):
    """A place that a data set is read from, or a way to make one.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
      fits: what `data.path` must be for this source, in a few words; empty where it reads no files
        of its own.
      exact: whether it knows its files by their whole names, so that it comes before sources that
        read any file of a kind.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    fits: ClassVar[str] = ""
    exact: ClassVar[bool] = False

    @abc.abstractmethod
    def load(self) -> Dataset:
        """Returns the data set; two calls return equal arrays.

        Raises:
          UserError: when the data cannot be read, or do not have the form that they should have.
        """

    @classmethod
    def holds(cls, path: Path) -> bool:
        """Returns whether a file or folder looks like one that this source reads.

        A look at names and first bytes has to do. Where it returns true, `data.path` needs no
        `data.name`.
        """
        del path
        return False


SOURCES: Registry[Source] = Registry(
    "data set",
    Source,  # type: ignore[type-abstract]
    "hwnas_jax.data",
)
