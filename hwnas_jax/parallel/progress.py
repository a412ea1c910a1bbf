"""How work that takes long reports its progress, and how it learns that it should stop."""

import contextlib
import signal
from collections.abc import Callable, Iterator

from hwnas_jax.errors import Interrupted
from hwnas_jax.parallel import distributed

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
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            cls.signum = None

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
