"""Where data come from: the contract of a data source, and the registry of sources.

A `Source` is a frozen dataclass whose fields are its options; `load` returns the data as a
`Dataset`. The same options always give the same data, so that a run that is resumed reads what it
read before. `hwnas_jax.data.load_data` fills the fields `path` and `test_fraction`, where a source
has them, from the config entries of the same name.
"""

import abc
import dataclasses
from typing import ClassVar

from hwnas_jax.data.dataset import Dataset
from hwnas_jax.registry import Registry


@dataclasses.dataclass(frozen=True)
class Source(abc.ABC):
    """A place that a data set is read from, or a way to make one.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    @abc.abstractmethod
    def load(self) -> Dataset:
        """Returns the data set; two calls return equal arrays.

        Raises:
          UserError: when the data cannot be read, or do not have the form that they should have.
        """


SOURCES: Registry[Source] = Registry(
    "data set",
    Source,  # type: ignore[type-abstract]
    "hwnas_jax.data",
)
