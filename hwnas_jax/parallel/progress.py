"""How work that takes long reports its progress, and how it learns that it should stop."""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import ClassVar

from hwnas_jax.errors import Interrupted
from hwnas_jax.parallel import distributed

PATIENCE_S = 3.0
"""How long after a signal a block of `StopRequest.hurried` may go on."""

Progress = Callable[[int, int, str], None]
"""Called as `(done, total, what)`. It raises `Interrupted` when a stop was asked for.

With a total of zero, `what` is a remark that is shown on a line of its own.
"""


def quiet(done: int, total: int, what: str) -> None:
    """Shows nothing, but raises `Interrupted` when a stop was asked for."""
    del done, total, what
    StopRequest.check("stopped")


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a request, which loops look for between two calls."""

    signum: int | None = None
    _ends: ClassVar[list[Callable[[int], None]]] = []
    _changing = threading.Lock()

    @classmethod
    @contextlib.contextmanager
    def listening(cls) -> Iterator[None]:
        """Listens for signals inside the block; a second signal interrupts at once."""

        def on_signal(signum, frame):
            del frame
            if cls.signum is not None:
                raise KeyboardInterrupt
            cls.signum = signum

        cls.signum = None
        before = {s: signal.signal(s, on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        waking = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=cls._wait_for_signals, args=(ours,), daemon=True).start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(waking)
            theirs.close()
            for number, handler in before.items():
                signal.signal(number, handler)
            cls.signum = None

    @classmethod
    @contextlib.contextmanager
    def hurried(cls, end: Callable[[int], None]) -> Iterator[None]:
        """Ends the program from outside when the block does not end soon after a signal.

        Python handles signals between two of its own steps, so that it cannot while a library
        compiles for a minute. This is for work of which nothing would be saved anyway.

        Args:
          end: called with the signal in another thread, some seconds after it came; it ends the
            process.
        """
        with cls._changing:
            cls._ends.append(end)
        try:
            yield
        finally:
            with cls._changing:
                cls._ends.remove(end)

    @classmethod
    def _wait_for_signals(cls, ours: socket.socket) -> None:
        with ours:
            while received := ours.recv(1):
                if received[0] not in (signal.SIGINT, signal.SIGTERM) or not cls._ends:
                    continue
                hurried = cls._ends[-1]
                ours.settimeout(PATIENCE_S)
                with contextlib.suppress(TimeoutError):
                    if not ours.recv(1):
                        return
                ours.settimeout(None)
                with cls._changing:
                    if hurried in cls._ends:
                        hurried(received[0])

    @classmethod
    def check(cls, message: str) -> None:
        """Raises `Interrupted` when a stop was asked for."""
        if cls.signum is not None:
            raise Interrupted(message, cls.signum)

    @classmethod
    def agree(cls) -> bool:
        """Returns whether any process of the job was asked to stop; every process then stops."""
        asked = [signum for signum in distributed.exchange(cls.signum) if signum is not None]
        if asked and cls.signum is None:
            cls.signum = asked[0]
        return bool(asked)
