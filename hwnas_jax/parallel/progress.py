"""How long work reports what is done, and how it notices that a stop was asked for."""

import contextlib
import signal
from collections.abc import Callable, Iterator

from hwnas_jax.errors import Interrupted
from hwnas_jax.parallel import distributed

Progress = Callable[[int, int, str], None]
"""Called as `(done, total, what)`; raises `Interrupted` when a stop was asked for.

A total of zero makes `what` a remark, shown as a line of its own.
"""


def quiet(done: int, total: int, what: str) -> None:
    """A progress report nobody sees; still notices that a stop was asked for."""
    del done, total, what
    StopRequest.check("stopped")


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a request that loops poll between calls."""

    signum: int | None = None

    @classmethod
    @contextlib.contextmanager
    def listening(cls) -> Iterator[None]:
        """Listens inside the block; a second signal interrupts at once."""

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
        """Returns whether any process of the job was asked to stop; then all are."""
        asked = [signum for signum in distributed.exchange(cls.signum) if signum is not None]
        if asked and cls.signum is None:
            cls.signum = asked[0]
        return bool(asked)
