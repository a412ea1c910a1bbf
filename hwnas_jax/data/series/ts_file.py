"""Reads the `.ts` files of the archive of time series classification.

Legend: `C` channels, `L` steps of a series, which may differ from series to series.
"""

from pathlib import Path

import numpy as np

from hwnas_jax.data.series.archive_part import ArchivePart, number, rows_of
from hwnas_jax.errors import UserError, shown


def read_ts(path: Path) -> ArchivePart:
    """Returns the series of a file.

    Lines that begin with `@` say what the file holds, and those behind `@data` are a series each:
    its channels, separated by colons, and behind the last colon its class or value. Values of a
    channel are separated by commas; `?` is one that is missing.

    Raises:
      UserError: names the line, and what is wrong with it.
    """
    said: dict[str, list[str]] = {}
    series: list[np.ndarray] = []
    targets: list[str] = []
    data = False
    for count, line in rows_of(path, "#"):
        where = f"{path}, line {count}"
        if data:
            *channels, target = line.split(":")
            if not channels:
                raise UserError(f"{where} has no colon, behind which its class would stand")
            if any("(" in channel for channel in channels):
                raise UserError(f"{where} has a time beside each value, which is not read")
            series.append(_channels(channels, where))
            targets.append(target.strip())
            continue
        words = line.split()
        if not words[0].startswith("@"):
            raise UserError(f"{where} begins with {shown(words[0])}, not with @; data follow @data")
        said[words[0].lower()] = words[1:]
        data = words[0].lower() == "@data"
    if not series:
        raise UserError(f"{path} holds no series behind a line @data")
    values = said.get("@targetlabel", ["false"])[:1] == ["true"]
    names = said.get("@classlabel", [])[1:]
    if values:
        learned = [
            number(text, f"{path}: the value of series {n}") for n, text in enumerate(targets)
        ]
        return ArchivePart(tuple(series), np.array(learned))
    return ArchivePart(tuple(series), np.array(targets), tuple(names))


def _channels(channels: list[str], where: str) -> np.ndarray:
    rows = [[number(text, where) for text in channel.split(",")] for channel in channels]
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise UserError(f"{where}: its channels have from {min(lengths)} to {max(lengths)} steps")
    return np.array(rows)
