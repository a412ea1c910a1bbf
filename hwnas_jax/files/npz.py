"""`.npz` files of plain arrays: written whole or not at all, read so that nothing can run.

What a file declares is checked before anything is unpacked: the names of its arrays, their types
and shapes, and that their sizes are those of its directory and small enough.
"""

import dataclasses
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.npy import declared
from hwnas_jax.files.whole import whole

LARGEST_MIB = 256
"""What a file may unpack to, in all; a larger one may unpack to four times its own size."""

_TIMES = 4
_KINDS = {"float": "f", "whole": "iu", "number": "fiu", "bool": "b", "text": "U"}
_PLAIN = "fiubU"
_ONE = b"\x93NUMPY"


@dataclasses.dataclass(frozen=True)
class Array:
    """What an array of a file must be.

    Attributes:
      kind: "float", "whole", "number", "bool" or "text".
      shape: a size for each axis, or a letter, which is the same size wherever it stands.
      least: the smallest value.
      most: the largest value.
      finite: whether all values must be finite.
      optional: whether the array may be absent.
    """

    kind: str
    shape: tuple[int | str, ...]
    least: float = -math.inf
    most: float = math.inf
    finite: bool = True
    optional: bool = False

    def __str__(self):
        return f"{self.kind}[{', '.join(map(str, self.shape))}]"

    def check_declared(self, name: str, dtype: Any, shape: tuple[int, ...], sizes: dict) -> None:
        """Raises UserError for another type or shape; adds the sizes of new letters to `sizes`."""
        known = ", ".join(f"{key} = {sizes[key]}" for key in self.shape if key in sizes)
        fine = dtype.kind in _KINDS[self.kind] and len(shape) == len(self.shape)
        for wanted, size in zip(self.shape, shape, strict=False):
            expected = sizes.setdefault(wanted, size) if isinstance(wanted, str) else wanted
            fine = fine and expected == size
        if not fine:
            where = f" with {known}" if known else ""
            raise UserError(f"{name} must be {self}{where}, and is {dtype}{list(shape)}")

    def check_values(self, name: str, array: np.ndarray) -> None:
        """Raises UserError for a value out of range; names its place."""
        if array.dtype.kind not in "fiu":
            return
        with np.errstate(invalid="ignore", over="ignore"):
            outside = (array < self.least) | (array > self.most)
        wrong = np.argwhere(outside | ~np.isfinite(array) if self.finite else outside)
        if len(wrong):
            place = tuple(wrong[0].tolist())
            limits = f"from {self.least:g} to {self.most:g}"
            limits = limits if self.most < math.inf else f"at least {self.least:g}"
            allowed = limits if outside[place] else "finite"
            raise UserError(f"{name} at {list(place)} is {array[place]}, and must be {allowed}")


def read_npz(
    path: Path,
    known: Mapping[str, Array] | None = None,
    *,
    others: Array | None = None,
    closed: bool = True,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """Returns the arrays of a file by name; nothing is unpickled.

    Args:
      path: the file.
      known: what it must hold; None takes plain arrays of any name and shape.
      others: what arrays of any other name must be.
      closed: whether arrays of other names are refused where `known` is given without `others`.
      sizes: of letters in the shapes of `known`, where they are known before.

    Raises:
      UserError: when the file cannot be read, or declares what it must not; does not name it.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(_ONE)) == _ONE:
                raise UserError("it is one array without a name (.npy), and must be a .npz file")
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive, max(LARGEST_MIB * 2**20, _TIMES * path.stat().st_size))
            said = {name: _declared(archive, entry) for name, entry in entries.items()}
            if known is not None:
                _check_names(known, said, closed and others is None)
            same: dict[Any, int] = dict(sizes or {})
            wanted = {name: (known or {}).get(name, others) for name in said}
            for name, (dtype, shape) in said.items():
                if (array := wanted[name]) is not None:
                    array.check_declared(name, dtype, shape, same)
            found = {name: _content(archive, entry) for name, entry in entries.items()}
    except UserError:
        raise
    except Exception as error:  # zipfile, zlib, numpy and its parser of headers raise a dozen kinds
        raise UserError(
            f"it is damaged, or no .npz file: {error or type(error).__name__}"
        ) from error
    for name, content in found.items():
        if (array := wanted[name]) is not None:
            array.check_values(name, content)
    return found


def _entries(archive: zipfile.ZipFile, limit: int) -> dict[str, zipfile.ZipInfo]:
    """Returns the members by the names of their arrays, when all together are small enough."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name == entry.filename or name in entries:
            raise UserError(f"it is damaged: {entry.filename!r:.80} is no array, or stands twice")
        entries[name] = entry
    total = sum(entry.file_size for entry in entries.values())
    if total > limit:
        raise UserError(
            f"its arrays take {total / 2**20:,.0f} MiB, and {limit / 2**20:,.0f} MiB are the most "
            "for a file of its size"
        )
    return entries


def _declared(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[np.dtype, tuple[int, ...]]:
    """Returns type and shape that a member's header declares, when they are those of its size."""
    with archive.open(entry) as packed:
        shape, dtype, start = said = declared(packed, f"its {entry.filename!r:.80}")
    if dtype.kind not in _PLAIN:
        raise UserError(
            f"its {entry.filename!r:.80} is {said}: allowed are real numbers, bools and texts"
        )
    size = start + said.nbytes
    if size != entry.file_size:
        raise UserError(
            f"it is damaged: {entry.filename!r:.80} is {said}, which takes {size} bytes, and has "
            f"{entry.file_size}"
        )
    return dtype, shape


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as packed:
        array = np.lib.format.read_array(packed, allow_pickle=False)
        packed.read(1)  # the checksum is compared when the end is reached
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_names(known: Mapping[str, Array], declared: Mapping, closed: bool) -> None:
    lacking = [n for n, array in known.items() if n not in declared and not array.optional]
    if lacking:
        raise UserError(f"it lacks {', '.join(lacking)}")
    if closed:
        for name in declared:
            choose(name, known, "array")


def member_names(path: Path) -> list[str]:
    """Returns the names in a zip file; none where it is no zip file that can be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except OSError:
        raise
    except Exception:  # of a dozen kinds, as above; who reads the content tells what is wrong
        return []


def write_npz(path: Path, arrays: Mapping[str, Any], *, compressed: bool = True) -> None:
    """Writes plain arrays whole or not at all.

    Args:
      path: the file; one that is there is replaced.
      arrays: by name; none may hold Python objects.
      compressed: whether the file is made small, which takes time.
    """
    save: Any = np.savez_compressed if compressed else np.savez
    with whole(path) as file:
        save(file, allow_pickle=False, **arrays)


def numbers(arrays: Mapping[str, np.ndarray], name: str, rank: int) -> np.ndarray:
    """Returns the array called `name`.

    Raises:
      UserError: when it is missing, holds no numbers, or has not `rank` axes.
    """
    array = arrays.get(name)
    if array is None or array.ndim != rank or not np.issubdtype(array.dtype, np.number):
        found = "is missing" if array is None else f"is {array.dtype}{list(array.shape)}"
        raise UserError(f"{name}, an array of numbers with {rank} axes, {found}")
    return array


def texts(arrays: Mapping[str, np.ndarray], name: str) -> tuple[str, ...]:
    """Returns the list of texts called `name`; raises UserError when it is missing or none."""
    array = arrays.get(name)
    if array is None or array.ndim != 1 or array.dtype.kind != "U":
        raise UserError(f"{name}, a list of texts, is missing")
    return tuple(str(text) for text in array)


def named(options: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Returns the names `str[N, D]` of options that are given by number, `int[N, D]`.

    Raises:
      UserError: when they are no whole numbers; names the row of one that has no name.
    """
    if not np.issubdtype(options.dtype, np.integer):
        raise UserError(f"operations are given by whole numbers, got {options.dtype}")
    wrong = np.argwhere((options < 0) | (options >= len(names)))
    if len(wrong):
        row, column = wrong[0]
        raise UserError(
            f"row [{row}]: operation {options[row, column]} has no name among {len(names)}"
        )
    return np.array(names)[options]


def text(arrays: Mapping[str, np.ndarray], name: str) -> str:
    """Returns the one text called `name`; raises UserError when it is missing or none."""
    array = arrays.get(name)
    if array is None or array.ndim != 0 or array.dtype.kind != "U":
        raise UserError(f"{name}, a text, is missing")
    return str(array)
