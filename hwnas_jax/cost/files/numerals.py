"""Numbers as they stand in tables: with a decimal point or a decimal comma, in ASCII digits."""

import math
import re
from collections.abc import Iterable

from hwnas_jax.errors import UserError

_LONGEST = 100
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_GROUPS = r"[+-]?\d{1,3}(%s\d{3})+"
_BY_COMMA = re.compile(_GROUPS % ",", re.ASCII)
_BY_POINT = re.compile(_GROUPS % r"\.", re.ASCII)


def number(text: str, what: str, mark: str = ".") -> float:
    """Returns the number in a cell.

    Args:
      text: of the cell.
      what: names the cell in messages.
      mark: what stands before the decimals, a point or a comma. The other one may divide a number
        that has decimals into groups of three digits.

    Raises:
      UserError: for any other text, and for a number beyond all floats.
    """
    plain = text
    if "," in text:
        head, _, tail = text.rpartition(mark)
        other = {",": ".", ".": ","}[mark]
        grouped = _BY_COMMA if mark == "." else _BY_POINT
        if other in head and grouped.fullmatch(head):
            head = head.replace(other, "")
        if mark in text:
            plain = f"{head}.{tail}"
    if len(plain) > _LONGEST or not _NUMBER.fullmatch(plain):
        shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
        hint = ", with a decimal point and no separator of thousands" if "," in text else ""
        raise UserError(f"{what} must be a number{hint}, got {shown!r}")
    value = float(plain)
    if not math.isfinite(value):
        raise UserError(f"{what} must be a finite number, got {text!r}")
    return value


def whole(text: str, what: str) -> int:
    """Returns the whole number in a cell; raises UserError, naming it by `what`, for other text."""
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise UserError(f"{what} must be a whole number, got {text[:_LONGEST]!r}")
    return int(text)


def decimal_mark(cells: Iterable[str], delimiter: str) -> str:
    """Returns what stands before the decimals of the numbers in a file, a point or a comma.

    Where every number with a comma could have its thousands divided by it (`1,234`), the comma
    counts as a decimal one only between semicolons, which spreadsheets write for its sake.

    Args:
      cells: the texts of all numbers of the file.
      delimiter: what separates its cells.

    Raises:
      UserError: when some numbers have a decimal comma and others a point.
    """
    pointed = divided = comma = None
    for text in cells:
        if "," in text and text.rfind(",") > text.rfind("."):
            if _BY_COMMA.fullmatch(text):
                divided = text
            else:
                comma = text
        elif "." in text:
            pointed = text
    if pointed and (comma or divided):
        raise UserError(
            f"some numbers have a comma, {comma or divided}, and others a point, {pointed}: "
            "write all of them with a decimal point and no separator of thousands"
        )
    return "," if comma or (divided and delimiter == ";") else "."
