"""Which source reads a path: told by what lies there.

Where `data.path` is given, `data.name` may be left out. A name that is given must fit the path.
"""

import dataclasses
import re
from pathlib import Path

from hwnas_jax.config import DataConfig
from hwnas_jax.data.base import SOURCES, Source
from hwnas_jax.data.own.source import entries, listed
from hwnas_jax.data.tfds_source import Tfds, prepared_names
from hwnas_jax.errors import UserError

_ARCHIVES = frozenset((".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar"))
_IDX = re.compile(r"idx\d")

DEFAULT = "digits"
"""The data where neither a name nor a path is given."""


def recognised(config: DataConfig) -> DataConfig:
    """Returns the config with the name of its data source.

    Raises:
      UserError: when the name is left out and no source, or more than one, reads the path; says
        what lies there and what is read.
    """
    if config.name is not None:
        return config
    if config.path is None:
        return dataclasses.replace(config, name=DEFAULT)
    path = Path(config.path).expanduser()
    if not path.exists():
        raise UserError(f"data.path = {config.path!r}: there is no such file or folder")
    found = sources_of(path)
    if not found:
        raise UserError(
            f"data.path = {config.path!r} {_held(path)}; no data source reads it. {_read()}"
        )
    if len(found) > 1:
        raise UserError(
            f"data.path = {config.path!r} may be read as {' or as '.join(found)}; name one with "
            "data.name"
        )
    if found == [Tfds.name]:
        return dataclasses.replace(config, name=_of_tfds(path))
    return dataclasses.replace(config, name=found[0])


def check_path(source: type[Source], name: str, given: str) -> None:
    """Refuses a path that another source than the one named reads.

    What no source reads is left to the one named, which says best what it misses; so is any path to
    a source that knows its files by their whole names.

    Args:
      source: that is named.
      name: what the user calls it.
      given: the path.

    Raises:
      UserError: says what lies there, and what would fit.
    """
    path = Path(given).expanduser()
    if "path" not in {field.name for field in dataclasses.fields(source)}:
        hint = ""
        if path.exists() and (found := sources_of(path)):
            hint = f"; it is read by data.name = {' or '.join(map(repr, found))}, or without a name"
        raise UserError(f"data.path = {given!r} is given, but {name} reads no files of yours{hint}")
    if source.exact or not source.fits or not path.exists() or _holds(source, path):
        return
    if found := sources_of(path):
        what = " or ".join(SOURCES[one].fits for one in found)
        raise UserError(
            f"data.path = {given!r} is {what}, but data.name = {name!r} reads {source.fits}; set "
            f"data.name to {' or '.join(map(repr, found))}, or leave it out"
        )


def sources_of(path: Path) -> list[str]:
    """Returns the names of the sources that read a path which exists."""
    found = [name for name in SOURCES if _holds(SOURCES[name], path)]
    return [name for name in found if SOURCES[name].exact] or found


def _holds(source: type[Source], path: Path) -> bool:
    try:
        return source.holds(path)
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path}: {error.strerror}") from error


def _of_tfds(path: Path) -> str:
    names = prepared_names(path)
    if len(names) > 1:
        raise UserError(
            f"data.path = {str(path)!r} holds the TFDS data sets {', '.join(names)}; name one with "
            "data.name"
        )
    return names[0]


def _held(path: Path) -> str:
    if path.is_dir():
        return f"holds {listed(entries(path))}"
    if path.suffix in _ARCHIVES and not _IDX.search(path.name):
        return "is an archive, which is to be unpacked first"
    if found := sources_of(path.parent):
        return f"is a file of a folder that can be given as a whole ({' or '.join(found)})"
    return "is a file of another kind"


def _read() -> str:
    lines = dict.fromkeys(SOURCES[name].fits for name in SOURCES if SOURCES[name].fits)
    return f"Read are: {'; '.join(lines)}"
