"""The one rule: what may become of an input that somebody has damaged or made up.

It is refused by one clear message, or what is made of it is right. Never is there another error,
never does it take longer than `SECONDS`, never does memory grow by more than `MIB`.
"""

import collections
import math
import re
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwnas_jax.errors import UserError

SECONDS = 10.0
MIB = 500
FAULTS = ("traceback", "hang", "memory", "wrong value", "unclear message")
OUTCOMES = ("refused", "accepted", *FAULTS)
COUNTS: collections.Counter[tuple[str, str]] = collections.Counter()
"""How often each outcome came of the inputs of each group."""

_UNCLEAR = re.compile(r"Traceback|NoneType|object has no attribute|object at 0x|^\W*$")
_LONGEST = 3000
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Fault(AssertionError):
    """An outcome that the rule does not allow."""


class _TooLong(BaseException):
    """Comes after `SECONDS`; no reader catches it by accident."""


def judge(group: str, call: Callable[[], Any], right: Callable[[Any], None] | None = None) -> str:
    """Returns "refused" or "accepted", and counts it.

    Args:
      group: what is counted together, such as a reader.
      call: uses the input; raises UserError where it refuses it.
      right: raises AssertionError for a result that is not right.

    Raises:
      Fault: for any other outcome; says which.
    """
    began, before = time.perf_counter(), _reset_peak()
    outcome, why, value, error = "accepted", "", None, None
    usual = signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        value = call()
    except UserError as refusal:
        outcome, why = "refused", str(refusal)
    except _TooLong as stopped:
        outcome, why = "hang", "".join(traceback.format_tb(stopped.__traceback__)[-8:])
    except Exception as unexpected:
        outcome, error = "traceback", unexpected
        why = f"{type(unexpected).__name__}: {unexpected}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    grown, took = _peak_mib() - before, time.perf_counter() - began
    if outcome == "refused" and (_UNCLEAR.search(why) or len(why) > _LONGEST):
        outcome = "unclear message"
    if outcome == "accepted" and right is not None:
        try:
            right(value)
        except AssertionError as wrong:
            outcome, why = "wrong value", str(wrong)
    if took > SECONDS:
        outcome, why = "hang", f"{took:.1f} s\n{why}"
    if grown > MIB:
        outcome, why = "memory", f"{grown:.0f} MiB"
    COUNTS[group, outcome] += 1
    if outcome in FAULTS:
        raise Fault(f"{group}: {outcome}: {why:.2000}") from error
    return outcome


def _stop(signum: int, frame: Any) -> None:
    raise _TooLong


def _reset_peak() -> float:
    """Makes the peak of memory what is used, where the system can, and returns it in MiB."""
    try:
        _RESET.write_text("5")
    except OSError:
        return _peak_mib()
    return _peak_mib()


def _peak_mib() -> float:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def agrees(found: Any, given: Any, place: str = "value") -> None:
    """Raises AssertionError unless everything that a file said is in what was read.

    Args:
      found: what was read, as plain values; it may say more than the file, by defaults.
      given: what an independent parser reads.
      place: where both stand.
    """
    if isinstance(given, dict):
        assert isinstance(found, dict), f"{place}: {found!r} for {given!r}"
        for key, value in given.items():
            assert key in found, f"{place} lacks {key!r}"
            agrees(found[key], value, f"{place}.{key}")
    elif isinstance(given, list):
        assert isinstance(found, list | tuple) and len(found) == len(given), place
        for number, (one, other) in enumerate(zip(found, given, strict=True)):
            agrees(one, other, f"{place}[{number}]")
    else:
        numbers = {type(found), type(given)} == {int, float}
        same = float(found) == float(given) if numbers else found == given
        same = same and isinstance(found, bool) == isinstance(given, bool)
        assert same, f"{place}: read {found!r} where {given!r} was given"


def finite(value: Any, place: str = "value") -> None:
    """Raises AssertionError for a number that is not finite, anywhere in plain values."""
    if isinstance(value, dict):
        for key, item in value.items():
            finite(item, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            finite(item, f"{place}[{number}]")
    elif isinstance(value, float):
        assert math.isfinite(value), f"{place} is {value}"
