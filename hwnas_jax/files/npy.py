"""`.npz` and `.npy` files whose declared sizes are known before any array is read."""

import io
import math
import re
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from hwnas_jax.errors import UserError

_SUFFIX = ".npy"
_HEADER = 2**16


class Declared(NamedTuple):
    """What the header of an array says.

    Attributes:
      shape: of the array.
      dtype: of its values.
      header: bytes that the header itself takes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    header: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes that the array takes in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def declared_arrays(path: Path) -> dict[str, Declared]:
    """Returns what a `.npz` file says of its arrays, by name; only their headers are read.

    Raises:
      UserError: when the file is damaged, or one of its entries is no array of plain values.
    """
    found: dict[str, Declared] = {}
    with named_errors(path, "no .npz file"), zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(_SUFFIX)
            if name == entry.filename:
                raise UserError(f"{path}: its entry {name} is no array")
            if name in found:
                raise UserError(f"{path}: two of its arrays are called {name}")
            with archive.open(entry) as member:
                found[name] = declared(member, f"{path}: {name}")
    return found


def declared_array(path: Path) -> Declared:
    """Returns what the header of a `.npy` file says; errors as of `declared_arrays`."""
    with named_errors(path, "no .npy file"), path.open("rb") as file:
        return declared(file, str(path))


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Returns some arrays of a `.npz` file; nothing is unpickled.

    Args:
      path: the file.
      names: of arrays that `declared_arrays` has named.

    Raises:
      UserError: when the file is damaged, or an array does not fit into memory.
    """
    with named_errors(path, "no .npz file"), np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in names}


def read_array(path: Path) -> np.ndarray:
    """Returns the array of a `.npy` file; errors as of `read_arrays`, and for bytes behind it."""
    with named_errors(path, "no .npy file"):
        array = np.load(path, allow_pickle=False)
        said = declared_array(path)
        surplus = path.stat().st_size - said.header - said.nbytes
        if surplus > 0:
            raise UserError(f"{path} is damaged: {surplus} bytes stand behind its array {said}")
        return array


def declared(file: IO[bytes], what: str) -> Declared:
    """Returns what the header of an array says; reads no more of a file than a header takes.

    Args:
      file: at the start of the array.
      what: names the array in messages.

    Raises:
      UserError: when it is no array of plain values. NumPy and Python's parser, which read headers,
        raise errors of many kinds for damaged ones.
    """
    said = header_of(file, what)
    dtype, shape = said.dtype, said.shape
    if dtype.hasobject or dtype.kind not in "biufcSU":
        raise UserError(
            f"{what} is {dtype}{list(shape)}: only arrays of numbers, truth values or texts are "
            "read, never Python objects"
        )
    if any(size < 0 for size in shape):
        raise UserError(f"{what} has a header with the impossible shape {list(shape)}")
    return said


def header_of(file: IO[bytes], what: str) -> Declared:
    """Returns what the header of any array says, also of one that holds Python objects.

    Args:
      file: at the start of the array.
      what: names the array in messages.

    Raises:
      UserError: for a header of another version.
      Exception: of many kinds for a damaged one, which `named_errors` takes for that.
    """
    # A header says its own length, so no more of it is unpacked than a plain one takes.
    file = io.BytesIO(file.read(_HEADER))
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise UserError(f"{what} has a header of version {version}; plain arrays have 1.0 or 2.0")
    read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
    try:
        shape, _, dtype = read(file)
    except ValueError as error:  # repeats parts of Python's own parser
        raise ValueError(re.sub(r"<\S+ object at \w+>", "a name", str(error))) from error
    return Declared(shape, dtype, file.tell())


@contextmanager
def named_errors(path: Path, otherwise: str) -> Iterator[None]:
    """Turns errors of any kind into one that names a file and says that it is damaged."""
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory: {error}") from error
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds for damaged files
        if isinstance(error, OSError) and error.filename is not None:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} is damaged, or {otherwise}: {reason}") from error
