"""A CSV file taken apart, as people and spreadsheets write it: header lines, columns, rows.

Cells are separated by commas, semicolons or tabs. A spreadsheet that saves such a file may put a
header line into quotes, with every quote inside doubled; may divide it into cells at its commas;
and may fill it up with empty cells. All of that is undone here.
"""

import contextlib
import csv
import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hwnas_jax.errors import UserError, shortened, shown
from hwnas_jax.files.json_text import parse_json

_DELIMITERS = (",", ";", "\t")
_PADDING = ",;\t \r\n"
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_SHOWN = 300
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A CSV file taken apart.

    Attributes:
      header: the values of the lines `# key: value`, by key in lower case with underscores.
      columns: their names as they stand in the file.
      rows: of each row its line number in the file, and its cell in each column.
      delimiter: what separates the cells.
    """

    header: dict[str, str]
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    delimiter: str = ","

    @property
    def spec(self) -> Any:
        """The `Choices.spec` in the header, or None when there is none.

        Raises:
          UserError: when it is damaged.
        """
        if "space" not in self.header:
            return None
        spec = header_object(self.header["space"], "space")
        if "num_classes" in spec:  # what people call it in classification
            spec.setdefault("num_outputs", spec.pop("num_classes"))
        return spec


def header_object(text: str, key: str) -> dict[str, Any]:
    """Returns the JSON object in a header line; raises UserError when there is none.

    Args:
      text: the value of the line.
      key: names the line in messages.
    """
    try:
        value = parse_json(text)
    except UserError as error:
        raise UserError(f"the line '# {key}:' is damaged: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"the line '# {key}:' must hold a JSON object, got {shown(text)}")
    return value


def decode(content: bytes) -> str:
    """Returns the text of a file.

    It is read as UTF-16 where it begins with that mark, as UTF-8 otherwise, and as Windows-1252
    where it is not UTF-8: the three that spreadsheets save.

    Raises:
      UserError: when the file holds bytes that no text has.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            text = content.decode("cp1252")
    except UnicodeDecodeError as error:
        raise UserError(f"it is not text: {error}") from error
    found = _CONTROL.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise UserError(f"it is not text: line {line} holds the character {found.group()!r}")
    return text


def parse_sheet(text: str) -> Sheet:
    """Takes a CSV file apart.

    Raises:
      UserError: for a file without a table, an unnamed or repeated column, a header line that
        stands there twice, or a row with another number of cells than there are columns. A file
        that was cut short fails in this way too.
    """
    lines = _lines(text)
    header, first = _header(lines)
    if first == len(lines):
        raise UserError("there is no table in it")
    delimiter = _delimiter(lines[first], first + 1)
    reader = csv.reader(lines[first:], delimiter=delimiter, strict=True)
    rows = []
    try:
        columns = tuple(cell.strip() for cell in _without_padding(next(reader)))
        if "" in columns or len(set(columns)) != len(columns):
            raise UserError(
                f"line {first + 1}: columns must have distinct names: "
                f"{shortened(list(columns), _SHOWN)}"
            )
        for cells in reader:
            number, given = first + reader.line_num, [cell.strip() for cell in cells]
            if not any(given):
                continue
            # A spreadsheet leaves empty cells at the end of a line out, a cut file the line's end.
            whole = len(given) >= len(columns) or number < len(lines) or text[-1] in "\r\n"
            if any(given[len(columns) :]) or not whole:
                raise UserError(
                    f"line {number}: {len(given)} cells, there are {len(columns)} columns"
                )
            given += [""] * (len(columns) - len(given))
            rows.append((number, dict(zip(columns, given, strict=False))))
    except csv.Error as error:
        raise UserError(f"line {first + reader.line_num}: {error}") from error
    if not rows:
        raise UserError("there is no row in it")
    if "rows" in header and (header["rows"] != str(len(rows)) or text[-1] not in "\r\n"):
        raise UserError(f"it is cut short: there should be {header['rows']} whole rows")
    return Sheet(header, columns, tuple(rows), delimiter)


def header_of(start: bytes) -> dict[str, str]:
    """Returns the header lines of a file that begins with `start`; none where it is no text."""
    try:
        return _header(_lines(decode(start)))[0]
    except UserError:
        return {}


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$", text)


def _header(lines: Sequence[str]) -> tuple[dict[str, str], int]:
    """Returns the header lines at the top of a file, and how many lines stand before the table."""
    header: dict[str, str] = {}
    for number, line in enumerate(lines):
        if number == 0 and re.match('"?sep=', line):
            continue  # a spreadsheet's own line about the delimiter
        if not line.lstrip(_PADDING + '"').startswith("#") and line.strip(_PADDING):
            return header, number
        key, colon, value = _header_line(line, number + 1).partition(":")
        key, value = re.sub(r"[\s-]+", "_", key.strip().lower()), _plain(value.strip())
        if colon and header.setdefault(key, value) != value:
            raise UserError(f"line {number + 1}: an earlier line '# {key}:' says something else")
    return header, len(lines)


def header_text(text: str) -> str:
    """Returns a text for a header line; as JSON where it could not be told from what pads one."""
    return text if re.fullmatch(r"\w([^\r\n]*\w)?", text, re.ASCII) else json.dumps(text)


def _plain(value: str) -> str:
    """Returns what `header_text` was given."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        with contextlib.suppress(UserError):
            return str(parse_json(value))
    return value


def _header_line(line: str, number: int) -> str:
    """Returns what stands behind the `#` of a header line, as it was before a spreadsheet."""
    line = line.strip()
    if line.startswith('"'):
        delimiter = _delimiter(line, number)
        cells = _without_padding(_cells(line, delimiter, number))
        # JSON has commas of its own, at which a spreadsheet may have divided it.
        line = ("," if "{" in cells[0] else delimiter).join(cells)
    return line.strip(_PADDING).removeprefix("#")


def _delimiter(line: str, number: int) -> str:
    """Returns the delimiter that divides a line into the most cells; a comma where none does."""
    return max(_DELIMITERS, key=lambda mark: len(_cells(line, mark, number)))


def _cells(line: str, delimiter: str, number: int) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error as error:
        raise UserError(f"line {number}: {error}") from error


def _without_padding(cells: Iterable[str]) -> list[str]:
    """Returns cells without the empty ones at their end."""
    found = list(cells)
    while len(found) > 1 and not found[-1].strip():
        found.pop()
    return found
