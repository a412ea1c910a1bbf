"""Reads the `.arff` files of the archive of time series classification.

Legend: `C` channels, `L` steps of a series, which may differ from series to series.
"""

import re
from pathlib import Path

import numpy as np

from hwnas_jax.data.series.archive_part import ArchivePart, number, rows_of
from hwnas_jax.errors import UserError

_QUOTED = re.compile(r"""(['"])(?P<channels>.*)\1\s*,(?P<target>.*)""")


def read_arff(path: Path) -> ArchivePart:
    r"""Returns the series of a file.

    A line behind `@data` is a series. One of several channels stands in quotes, its channels
    separated by `\n`, and its class behind them. One of a single channel is a list of values whose
    last is the class. `?` is a value that is missing.

    Raises:
      UserError: names the line, and what is wrong with it.
    """
    series: list[np.ndarray] = []
    targets: list[str] = []
    names: tuple[str, ...] = ()
    data = False
    for count, line in rows_of(path, "%"):
        where = f"{path}, line {count}"
        if not data:
            data = line.lower().startswith("@data")
            given = re.search(r"\{(.*)\}", line)
            if line.lower().startswith("@attribute") and given:
                names = tuple(_bare(name) for name in given[1].split(","))
            continue
        quoted = _QUOTED.fullmatch(line)
        if quoted:
            channels, target = quoted["channels"].split("\\n"), quoted["target"]
        else:
            values, comma, target = line.rpartition(",")
            if not comma:
                raise UserError(f"{where} has no comma, behind which its class would stand")
            channels = [values]
        rows = [[number(text, where) for text in channel.split(",")] for channel in channels]
        lengths = {len(row) for row in rows}
        if len(lengths) > 1:
            raise UserError(
                f"{where}: its channels have from {min(lengths)} to {max(lengths)} steps"
            )
        series.append(np.array(rows))
        targets.append(_bare(target))
    if not series:
        raise UserError(f"{path} holds no series behind a line @data")
    return ArchivePart(tuple(series), np.array(targets), names)


def _bare(text: str) -> str:
    return text.strip().strip("'\"")
