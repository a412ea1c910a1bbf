"""JSON text from files that anybody may have written, as plain values that are safe to work with.

Beyond what JSON itself asks for: a key stands only once in an object, nesting is at most `DEEPEST`
levels, numbers are finite and have at most 100 digits, and every text can be written again.
"""

import json
import math
import re
from typing import Any

from hwnas_jax.errors import UserError

DEEPEST = 64
_LONGEST = 100
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str | bytes, *, unknown: bool = False) -> Any:
    """Returns the value that a JSON text stands for.

    Args:
      text: the JSON, in UTF-8.
      unknown: whether NaN and Infinity, which JSON does not know, are taken as null.

    Raises:
      UserError: says what is wrong and where in the text, as in "line 3, column 7: ...".
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        value = json.loads(
            text, object_pairs_hook=_distinct, parse_int=_whole, parse_float=_finite,
            parse_constant=(lambda word: None) if unknown else _number_only,
        )  # fmt: skip
        if _SURROGATE.search(text) or not text.isascii():
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise UserError(
            f"line {error.lineno}, column {error.colno}: it is no JSON: {error.msg}"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"byte {error.start}: it is no UTF-8 text: {error.reason}") from None
    except UnicodeEncodeError:
        raise UserError(r"a text has one half of a surrogate pair (\ud800 to \udfff)") from None
    except RecursionError:
        raise _too_deep() from None
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [inner for one in level for inner in _parts(one) if isinstance(inner, dict | list)]
        if not level:
            return value
    raise _too_deep()


def _parts(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _too_deep() -> UserError:
    return UserError(f"it is nested more than {DEEPEST} levels deep")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"the key {twice!r:.60} stands twice in one object: keep one")
    return found


def _number_only(word: str) -> Any:
    raise UserError(f"{word} is no number: numbers must be finite; unknown ones are null")


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST:
        raise UserError(f"{digits:.20}... has more than {_LONGEST} digits")
    return int(digits)


def _finite(digits: str) -> float:
    if len(digits) > _LONGEST:
        raise UserError(f"{digits:.20}... has more than {_LONGEST} digits")
    if not math.isfinite(float(digits)):
        raise UserError(f"{digits} is out of range: numbers must be finite")
    return float(digits)
