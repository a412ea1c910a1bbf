"""Which column of a CSV file means what: metrics in the units that people write, decisions.

A name is taken apart into words: `latency (ms)`, `Latency_ms` and `median latency [µs]` are all
latencies. A metric in another unit is converted, and what was done is said. A metric without a
unit is refused, since a unit is never guessed. Columns with another meaning are left out.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

from hwnas_jax.cost.files.numerals import decimal_mark, number, whole
from hwnas_jax.cost.files.observations import METRICS
from hwnas_jax.cost.files.sheet import Sheet
from hwnas_jax.errors import UserError, nearest

_STEMS = {
    "latency_ms": ("latency", "latencies", "inference time", "inference latency"),
    "energy_mj": ("energy",),
    "peak_memory_mib": ("peak memory",),
    "area_mm2": ("area",),
    "cycles": ("cycles",),
    "macs": ("macs",),
    "flops": ("flops",),
    "params": ("params", "parameters"),
    "bit_operations": ("bit operations",),
    "size_kib": ("size",),
}
"""What people call a metric, without its unit. Others are known by their own name alone."""

_TIMES = {
    1.0: "ms msec millisecond milliseconds", 1e-3: "us usec microsecond microseconds",
    1e-6: "ns nsec nanosecond nanoseconds", 1e3: "s sec second seconds",
}  # fmt: skip
_ENERGIES = {
    1.0: "mj millijoule millijoules", 1e-3: "uj microjoule microjoules",
    1e-6: "nj nanojoule nanojoules", 1e3: "j joule joules",
}  # fmt: skip
_MEMORIES = {
    1.0: "mib", 2.0**-10: "kib", 2.0**10: "gib", 2.0**-20: "b byte bytes",
    1e6 / 2**20: "mb", 1e3 / 2**20: "kb", 1e9 / 2**20: "gb",
}  # fmt: skip
_SIZES = {2**10 * factor: names for factor, names in _MEMORIES.items()}
_COUNTS = {1.0: "", 1e3: "k thousand", 1e6: "m million millions", 1e9: "g billion billions"}
_UNITS = {
    "latency_ms": _TIMES, "energy_mj": _ENERGIES, "peak_memory_mib": _MEMORIES, "size_kib": _SIZES,
    "area_mm2": {1.0: "mm2", 1e-6: "um2"},
}  # fmt: skip
_IGNORED = {"median", "mean", "average", "avg", "per", "call", "in"}
_PLAIN = ("architecture", "index", "operation", "device", "repeats", "label")
_SYNONYMS = {"arch": "architecture", "arch_str": "architecture", "arch_index": "index"}


def iqr_column(metric: str) -> str:
    """Returns the name of the column with a metric's interquartile range.

    >>> iqr_column("latency_ms"), iqr_column("cycles")
    ('latency_iqr_ms', 'cycles_iqr')
    """
    stem, _, unit = metric.rpartition("_")
    return f"{stem}_iqr_{unit}" if stem else f"{metric}_iqr"


def repeats_column(metric: str) -> str:
    """Returns the name of the column with a metric's number of rounds.

    >>> repeats_column("latency_ms")
    'latency_repeats'
    """
    return f"{metric.rpartition('_')[0] or metric}_repeats"


_EXACT = {
    name: (kind, metric, 1.0)
    for metric in METRICS
    for kind, name in enumerate((metric, iqr_column(metric), repeats_column(metric)))
}

RESERVED = {*_PLAIN, *_EXACT}
"""Names of columns that a decision of the same name could not be told from."""


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A column of numbers.

    Attributes:
      column: its name in the file.
      factor: what a number in it is multiplied by, to be in the unit of its metric.
    """

    column: str
    factor: float = 1.0


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a sheet by their meaning.

    Attributes:
      sheet: the file.
      named: the column that stands for `architecture`, `index` (the row of a table), `operation`,
        `device`, `repeats`, `label` (which people read), or for a decision, by that name.
      values: the column of each metric.
      spreads: the column with the interquartile range of a metric, where there is one.
      rounds: the column with the number of rounds behind a metric, where there is one.
      left_out: columns with another meaning.
      mark: what stands before the decimals, a point or a comma.
    """

    sheet: Sheet
    named: Mapping[str, str]
    values: Mapping[str, Quantity]
    spreads: Mapping[str, Quantity]
    rounds: Mapping[str, Quantity]
    left_out: tuple[str, ...]
    mark: str

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was converted, read with a decimal comma, or left out."""
        said = [
            f"the column {own.column!r} is multiplied by {own.factor:.6g}, which gives {metric}"
            for metric, own in self.values.items()
            if own.factor != 1
        ]
        if self.mark == ",":
            said.append("the numbers are read with a decimal comma")
        if self.left_out:
            hints = ((column, self._meant(column)) for column in self.left_out)
            names = (f"{column} (meant is {own}?)" if own else column for column, own in hints)
            said.append(f"columns left out: {', '.join(names)}")
        return tuple(said)

    def _meant(self, column: str) -> str | None:
        free = [name for name in ("repeats", *METRICS) if name not in (*self.named, *self.values)]
        close = nearest(column, free)
        return close if close and abs(len(close) - len(column)) <= 2 else None

    def text(self, row: Mapping[str, str], name: str) -> str:
        """Returns the cell of a row in the column that `named` calls `name`; empty without one."""
        return row[self.named[name]] if name in self.named else ""

    def value(self, row: Mapping[str, str], metric: str, where: str) -> float | None:
        """Returns what a metric is in a row, in its own unit; None for an empty cell."""
        return self._number(row, self.values[metric], f"{where}: {metric}")

    def spread(self, row: Mapping[str, str], metric: str, where: str) -> float:
        """Returns the interquartile range of a metric in a row; zero where it is not given."""
        own = self.spreads.get(metric)
        found = None if own is None else self._number(row, own, f"{where}: {own.column}")
        return found or 0.0

    def repeats(self, row: Mapping[str, str], metric: str, where: str) -> int:
        """Returns the number of rounds behind a metric in a row; one where it is not given."""
        own = self.rounds.get(metric)
        given = (row[own.column] if own else "") or self.text(row, "repeats") or "1"
        return whole(given, f"{where}: repeats")

    def _number(self, row: Mapping[str, str], own: Quantity, what: str) -> float | None:
        text = row[own.column]
        return own.factor * number(text, what, self.mark) if text else None


def understand(sheet: Sheet, decisions: Iterable[str] = (), *, metrics: bool = True) -> Columns:
    """Returns what the columns of a sheet mean.

    Args:
      sheet: the file.
      decisions: the names of the decisions of its space.
      metrics: whether there must be metrics; without, only the architectures are looked for.

    Raises:
      UserError: when no column is a metric, when one is a metric without a known unit, or when
        several columns give the same.
    """
    decisions = tuple(decisions)
    named, left = _named(sheet.columns, decisions)
    if not metrics:
        return Columns(sheet, named, {}, {}, {}, tuple(left), ".")
    kinds: tuple[dict[str, Quantity], ...] = ({}, {}, {})
    others, unknown = [], []
    for column in sorted(left, key=lambda column: column not in METRICS):
        found = _quantity(column)
        if found is None:
            others.append(column)
            continue
        kind, metric, factor = found
        if factor is None:
            unknown.append((column, metric))
        elif metric not in kinds[kind]:
            kinds[kind][metric] = Quantity(column, factor)
        elif kinds[kind][metric].column in METRICS:
            others.append(column)
        else:
            first = kinds[kind][metric].column
            raise UserError(f"the columns {first!r} and {column!r} both give {metric}: keep one")
    values = {metric: kinds[0][metric] for metric in METRICS if metric in kinds[0]}
    for column, metric in unknown:
        if metric not in values:
            raise UserError(
                f"the column {column!r} has a unit that is not known here; convert it to "
                f"{metric}, {METRICS[metric]}, and name it so"
            )
        others.append(column)
    if not values:
        known = ", ".join(METRICS)
        there = ", ".join(sheet.columns)
        raise UserError(f"no column is a metric: there are {there}; known are {known}")
    numbers = [own.column for kind in kinds[:2] for own in kind.values()]
    cells = [row[column] for _, row in sheet.rows for column in numbers]
    order = {column: place for place, column in enumerate(sheet.columns)}
    return Columns(
        sheet, named, values, kinds[1], kinds[2], tuple(sorted(others, key=order.__getitem__)),
        decimal_mark(cells, sheet.delimiter),
    )  # fmt: skip


def _named(columns: Sequence[str], decisions: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Returns the columns that are no quantities, by what they are, and the others."""
    named = {name: name for name in (*_PLAIN, *decisions) if name in columns}
    left = [column for column in columns if column not in named]
    for column in list(left):
        name = _SYNONYMS.get(column.lower(), column.lower())
        if name in (*_PLAIN, *decisions) and name not in named:
            named[name] = column
            left.remove(column)
    if "architecture" in named:
        left += [named.pop(name) for name in ("index", *decisions) if name in named]
    return named, left


def _quantity(column: str) -> tuple[int, str, float | None] | None:
    """Returns what a column counts: values (0), spreads (1) or rounds (2), the metric, the factor.

    The factor is None for a unit that is not known, and the whole is None for another meaning.
    """
    if column in _EXACT:
        return _EXACT[column]
    words = _words(column)
    kind = 1 if "iqr" in words else 2 if "repeats" in words else 0
    rest = [word for word in words if word not in ("iqr", "repeats")]
    own = [metric for metric in METRICS if _words(metric) == rest]
    if own:
        return kind, own[0], 1.0
    rest = [word for word in rest if word not in _IGNORED]
    for metric, stems in _STEMS.items():
        for stem in sorted(map(str.split, stems), key=len, reverse=True):
            if rest[: len(stem)] == stem:
                return _with_unit(kind, metric, " ".join(rest[len(stem) :]))
    return None


def _with_unit(kind: int, metric: str, unit: str) -> tuple[int, str, float | None] | None:
    if kind == 2:
        return (kind, metric, 1.0) if not unit else None
    for factor, names in _UNITS.get(metric, _COUNTS).items():
        if unit in (names.split() or [""]):
            return kind, metric, factor
    return (kind, metric, None) if metric in ("latency_ms", "energy_mj") and not kind else None


def _words(column: str) -> list[str]:
    """Returns the words of a column's name in their order, in lower case.

    >>> _words("Median latency [µs]")
    ['median', 'latency', 'us']
    """
    plain = re.sub("[\u00b5\u03bc]", "u", column).lower().replace("²", "2")
    return re.findall(r"[a-z]+[0-9]*", plain)
