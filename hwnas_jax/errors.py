"""Errors that a person can mend. Each has one clear message and is shown without a traceback."""

import difflib
from collections.abc import Iterable, Sequence

_SHOWN = 80
"""Most characters of what a person gave that a message repeats."""
_COMPARED = 200
"""Most characters of a word that is compared with others."""
_LISTED = 60
"""Most allowed names that a message lists."""


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
    """Returns the allowed word closest to `given`, or None when nothing is close.

    Long words are not compared, since that takes time that grows with the square of their length.
    """
    word = str(given).lower()
    if len(word) > _COMPARED:
        return None
    short = [name for name in allowed if len(name) <= _COMPARED]
    matches = difflib.get_close_matches(word, short, n=1, cutoff=0.5)
    return matches[0] if matches else None


def shortened(text: object, most: int = _SHOWN) -> str:
    """Returns a text for a message or a page, without its end where it is long.

    >>> shortened("abcdef", 3), shortened("abc", 3)
    ('abc...', 'abc')
    """
    whole = str(text)
    return whole if len(whole) <= most else f"{whole[:most]}..."


def shown(value: object) -> str:
    """Returns the representation of a value that a person gave, its end left out where it is long.

    >>> shown("a" * 100)[:4], len(shown("a" * 100)), shown(10**5000)
    ("'aaa", 83, 'a number of very many digits')
    """
    try:
        return shortened(repr(value))
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a number of very many digits"


def listed(names: Sequence[str]) -> str:
    """Returns names joined by commas; of many only the first, and how many are left out.

    >>> listed(["a", "b"])
    'a, b'
    """
    kept = ", ".join(shortened(name) for name in names[:_LISTED])
    left = len(names) - _LISTED
    return f"{kept} and {left} more" if left > 0 else kept


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
    raise UserError(f"unknown {what} {shown(given)}: allowed are {listed(names)}.{hint}")
