"""A file as an unpickler reads it, watched so that a small one cannot fill the memory."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hwnas_jax.errors import UserError

_FRAME, _PUT, _PUT_LINE = b"\x95", b"r", b"p"
_LEAST = 2**26
"""What may always be made of a file, in bytes."""

_STEPS = 2_000_000
"""Instructions that a packed file may always have; each makes an object of some 200 bytes at most.
"""


_TUPLES = frozenset((b"\x85", b"\x86", b"\x87", b"t", b"\x91"))
SAFE_TUPLES, MOST_TUPLES = 50_000, 4_000_000
"""How many tuples and frozen sets may lie in each other. To use one as a key, Python goes through
all that are in it on its stack, which holds some 80,000 where nobody asks for a larger one.
"""


_STACK = 2**29


class TooManyTuples(Exception):
    """More may be nested than the usual stack holds."""


class Watched:
    """Passes on what an unpickler reads.

    An unpickler keeps values at numbers that the file chooses, in a list as long as the largest
    one: ten bytes would take many gigabytes. A number beyond the bytes that were read is refused.
    It is seen because an unpickler that cannot look ahead reads every argument on its own; what
    groups instructions into frames, which are read as a whole, is taken for an empty frame.

    Args:
      file: open for reading.
      tuples: how many there may be.
      packed: size of the file when it is unpacked while it is read. Then its content is at most
        100 times as large, and has at most four instructions for each of its bytes, or as much as
        any file may. None sets no bound.
    """

    def __init__(self, file: Any, tuples: int, packed: int | None = None):
        self._file, self._before, self._tuples = file, b"", tuples
        self._taken = self._steps = self._made = 0
        self._most = None if packed is None else max(_LEAST, 100 * packed)
        self._most_steps = max(_STEPS, 4 * (packed or 0))

    def read(self, count: int) -> bytes:
        """Returns the next bytes."""
        content: bytes = self._file.read(count)
        self._taken += len(content)
        if count == 4 and self._before == _PUT:
            self._check(int.from_bytes(content, "little"))
        elif count == 8 and self._before == _FRAME:
            content = bytes(8)
        elif content in _TUPLES:  # or a byte of something else, which does no harm
            self._tuples -= 1
            if self._tuples < 0:
                raise TooManyTuples
        self._before = content
        if self._most is not None:
            self._steps += 1
            if self._taken > self._most or self._steps > self._most_steps:
                raise UserError("it unpacks to far more than its size: refused")
        return content

    def readline(self) -> bytes:
        """Returns the rest of the line."""
        line: bytes = self._file.readline()
        self._taken += len(line)
        if self._before == _PUT_LINE:
            digits = line.strip()
            self._check(int(digits) if digits.isdigit() and len(digits) < 20 else -1)
        self._before = b""
        return line

    def _check(self, number: int) -> None:
        if not 0 <= number <= self._taken:
            raise UserError(f"it is damaged: it keeps a value at the number {number}")

    def made(self, nbytes: int) -> None:
        """Counts what was copied from what was read; UserError when that is far more."""
        self._made += nbytes
        if self._made > max(_LEAST, 4 * self._taken):
            raise UserError("it makes far more of its values than it holds: refused")


def on_large_stack(call: Callable[[], Any]) -> Any:
    """Returns `call()`, made in a thread whose stack holds `MOST_TUPLES` in each other."""
    before = threading.stack_size(_STACK)
    try:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(call).result()
    finally:
        threading.stack_size(before)
