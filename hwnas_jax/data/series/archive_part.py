"""What a file of the archive of time series classification holds.

Legend: `N` series, `C` channels, `L` steps of a series.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hwnas_jax.errors import UserError, shown

_MISSING = ("?", "nan")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)


class ArchivePart(NamedTuple):
    """The series of a file.

    Attributes:
      series: `float64[C, L]` each; what is missing is NaN.
      targets: names of classes `str[N]`, or values `float64[N]`.
      names: of the classes, in the order of the file; empty where it does not say them.
    """

    series: tuple[np.ndarray, ...]
    targets: np.ndarray
    names: tuple[str, ...] = ()

    def trimmed(self, where: str) -> list[np.ndarray]:
        """Returns the series without the missing steps at their ends, by which files pad them.

        Raises:
          UserError: when a series has no step, a value is missing in its middle, or the numbers of
            channels differ.
        """
        found = []
        channels = len(self.series[0])
        for index, values in enumerate(self.series):
            place = f"{where}: series {index} (counted from 0)"
            if len(values) != channels:
                raise UserError(f"{place} has {len(values)} channels, the first has {channels}")
            there = np.flatnonzero(~np.isnan(values).all(axis=0))
            if not len(there):
                raise UserError(f"{place} has no values")
            kept = values[:, : there[-1] + 1]
            gaps = np.flatnonzero(np.isnan(kept).any(axis=0))
            if len(gaps):
                raise UserError(
                    f"{place}: a value is missing at step {gaps[0]}; only whole steps at the end "
                    "may be missing"
                )
            found.append(kept)
        return found


def rows_of(path: Path, comment: str) -> Iterator[tuple[int, str]]:
    """Yields the lines of a file that are neither empty nor comments, with their numbers.

    Raises:
      UserError: when the file is no text.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for count, line in enumerate(file, start=1):
                text = line.strip()
                if text and not text.startswith(comment):
                    yield count, text
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text: {error}") from error


def number(text: str, where: str) -> float:
    """Returns a number, NaN where it is missing; UserError for anything else."""
    text = text.strip()
    if text.lower() in _MISSING:
        return math.nan
    if not _NUMBER.fullmatch(text):
        raise UserError(f"{where}: {shown(text)} is no number")
    return float(text)
