"""Errors that a person can mend. Each has one clear message and is shown without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something that the user gave cannot be used; the message says what is allowed.

    The command line prints the message and exits with code 2.
    """


class Interrupted(Exception):
    """The user or the system asked for a stop, and the state is on disk.

    Attributes:
      signum: the signal that came (`signal.SIGINT` or `signal.SIGTERM`).
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.signum = signum


def nearest(given: str, allowed: Iterable[str]) -> str | None:
    """Returns the allowed word closest to `given`, or None when nothing is close."""
    matches = difflib.get_close_matches(str(given).lower(), list(allowed), n=1, cutoff=0.5)
    return matches[0] if matches else None


def choose(given: str, allowed: Iterable[str], what: str) -> str:
    """Returns `given` if it is one of the allowed names.

    Args:
      given: the name that a person wrote.
      allowed: the names that there are.
      what: what the names stand for, in the singular ("search space").

    Raises:
      UserError: when it is none of them. The message names what was given, what is allowed and the
        nearest match.
    """
    names = list(allowed)
    if given in names:
        return given
    close = nearest(given, names)
    hint = f" Did you mean {close!r}?" if close else ""
    raise UserError(f"unknown {what} {given!r}: allowed are {', '.join(names)}.{hint}")
