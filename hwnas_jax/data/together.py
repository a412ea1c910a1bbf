"""The targets of several tasks side by side in one array.

Legend: `N` examples, `T` numbers that the targets of one example have together.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval

from hwnas_jax.errors import UserError

Kind = Literal["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32"]
"""Types that targets have."""


@dataclasses.dataclass(frozen=True)
class TargetPart:
    """The targets of one of several tasks.

    Attributes:
      name: of the task among the others ("objects").
      task: what is learned, as in the registry of tasks ("classification").
      shape: of the target of one example.
      dtype: of the targets.
      output_names: as of a data set for this task alone.
    """

    name: str
    task: str
    shape: tuple[Annotated[int, Interval(gt=0, le=2**20)], ...]
    dtype: Kind
    output_names: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many numbers the target of one example has."""
        return math.prod(self.shape)


def pack(targets: Sequence[np.ndarray]) -> np.ndarray:
    """Returns targets `[N, ...]` of several tasks as columns `float32[N, T]`, in their order.

    Raises:
      UserError: for whole numbers that float32 does not hold.
    """
    columns = []
    for array in targets:
        column = array.reshape(len(array), -1).astype(np.float32)
        exact = column.astype(np.int64) == array.reshape(column.shape)
        if array.dtype.kind in "iu" and not exact.all():
            raise UserError("a whole number above 16,777,216 cannot be a target beside others")
        columns.append(column)
    return np.concatenate(columns, axis=1)


def unpack(targets: Any, parts: Sequence[TargetPart]) -> dict[str, Any]:
    """Returns the targets `[N, ...]` of each task by its name, of the type and shape they had.

    Args:
      targets: `float32[N, T]`, a NumPy or JAX array.
      parts: the tasks.
    """
    found, first = {}, 0
    for part in parts:
        columns = targets[:, first : first + part.size]
        found[part.name] = columns.reshape(len(targets), *part.shape).astype(part.dtype)
        first += part.size
    return found
