"""One idx file, plain or gzipped; its header is read before anything is unpacked.

Format: http://yann.lecun.com/exdb/mnist: two zero bytes, a code of the type, the number of
dimensions, each dimension as a big-endian uint32, then the values, big-endian too.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from hwnas_jax.errors import UserError

_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_MOST_AXES = 4


class IdxHeader(NamedTuple):
    """What the header of an idx file says.

    Attributes:
      dtype: of the values, as they lie in the file.
      shape: of the array.
    """

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def length(self) -> int:
        """Bytes of the header itself."""
        return 4 + 4 * len(self.shape)


def read_header(path: Path) -> IdxHeader:
    """Returns the header of an idx file, gzipped when its name ends in `.gz`.

    Raises:
      UserError: when it is none; names the file and what is wrong with it.
    """
    with _opened(path) as file:
        return _header(path, _take(path, file, 4 + 4 * _MOST_AXES))


def read_idx(path: Path) -> np.ndarray:
    """Returns the array of an idx file, in the machine's own byte order.

    Never more is unpacked than the header stands for.

    Raises:
      UserError: names the file and what is wrong with it.
    """
    with _opened(path) as file:
        start = _take(path, file, 4 + 4 * _MOST_AXES)
        header = _header(path, start)
        expected = header.length + header.nbytes
        content = start + _take(path, file, max(expected + 1 - len(start), 0))
    if len(content) != expected:
        fault = "is truncated" if len(content) < expected else "is too long"
        count = f"{len(content)} bytes" if len(content) < expected else "there are more bytes"
        raise UserError(f"{path} {fault}: {count}, its header {header.shape} stands for {expected}")
    array = np.frombuffer(content, header.dtype, offset=header.length).reshape(header.shape)
    return array.astype(header.dtype.newbyteorder("="), copy=False)


def _opened(path: Path) -> IO[bytes]:
    try:
        return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _take(path: Path, file: IO[bytes], count: int) -> bytes:
    try:
        return file.read(count)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory") from error


def _header(path: Path, start: bytes) -> IdxHeader:
    if len(start) < 4:
        raise UserError(f"{path} is truncated: {len(start)} bytes, no idx header")
    rank, kind = start[3], _TYPES.get(start[2])
    if start[:2] != b"\0\0" or kind is None or not 1 <= rank <= _MOST_AXES:
        codes = ", ".join(f"{code:02x}" for code in _TYPES)
        raise UserError(
            f"{path} is no idx file: it starts with {start[:4].hex(' ')}, expected 00 00, a type "
            f"({codes}) and the number of dimensions (1 to {_MOST_AXES})"
        )
    length = 4 + 4 * rank
    if len(start) < length:
        raise UserError(f"{path} is truncated: {len(start)} bytes, its header needs {length}")
    shape = tuple(int(size) for size in np.frombuffer(start, ">u4", rank, offset=4))
    return IdxHeader(np.dtype(kind), shape)
