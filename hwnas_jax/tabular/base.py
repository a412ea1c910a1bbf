"""What a tabular benchmark is: how well every architecture of a space does after training.

Legend: `n` architectures, `D` decisions, `A` architectures that the decisions allow for.

An architecture's number is that of its options in mixed radix, the last decision running fastest;
it is also its row in every column, so that looking one up is pure and needs no search. A space of
too many architectures for that has columns of those that the table knows (`SparseColumn`).
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.readers.table_checks import check_architectures
from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Choices
from hwnas_jax.tabular.sparse import SparseColumn, architectures_of, make_sparse, read_sparse

_MOST = 2**24
"""The most architectures of a space that has a row for each of them."""

SPLITS = ("validation", "test")

Columns = dict[tuple[str, int | None], np.ndarray]
"""By split and epochs of training, what the file says of each network, `float[N]`."""

Column = Any
"""`float32[A]`, or a `SparseColumn`; NaN, or no row, stands for what the table lacks."""


class Measure(NamedTuple):
    """What a table says of a network; more of it is always better.

    Attributes:
      name: as in the names of metrics ("accuracy").
      lowest: the smallest value that a file may hold.
      highest: the largest one.
      percent: whether a file holds percent; the benchmark then holds a hundredth of its values.
    """

    name: str
    lowest: float
    highest: float
    percent: bool = False


ACCURACY = Measure("accuracy", 0, 100, percent=True)
_SECONDS = Measure("seconds", 0, math.inf)


@dataclasses.dataclass(frozen=True, eq=False)
class Benchmark:
    """A table of accuracies, or of another measure that is better the larger it is.

    What a search selects by and what is reported of its result have names of their own: those of
    `select` and `report`. Selecting by the test images is possible, and has to be asked for.

    Attributes:
      source: where it is from, for people.
      space: what the architectures are of.
      metrics: by name, a `Column`; accuracies and other shares are in [0, 1].
      validation: by epochs of training, the metric of the validation images; None stands for a
        length of training that the table does not tell.
      test: likewise of the test images.
      measure: what is measured.
      training_seconds: by epochs of training, a `Column` of what training each network took and
        judging it once; empty where the table does not tell.
    """

    source: str
    space: Choices
    metrics: Mapping[str, Column]
    validation: Mapping[int | None, str]
    test: Mapping[int | None, str]
    measure: Measure = ACCURACY
    training_seconds: Mapping[int | None, Column] = dataclasses.field(default_factory=dict)

    def select(self, split: str = "validation", epochs: int | None = None) -> str:
        """Returns the metric to select architectures by.

        Args:
          split: "validation"; with "test" the search sees what is reported of it, so that what it
            finds looks better than it is.
          epochs: after how many epochs; None takes the most there are.

        Raises:
          UserError: when the table has no such metric; says what it has.
        """
        columns = self.validation if split == "validation" else self.test
        if not columns:
            raise UserError(
                f"{self.source} has no {self.measure.name} on {split} images; it has "
                f"{', '.join(self.metrics)}"
                + ("; split = 'test' selects by what is reported" if self.test else "")
            )
        if epochs is None:
            return columns[_longest(columns)]
        if epochs not in columns:
            known = ", ".join("an unknown number" if e is None else str(e) for e in columns)
            raise UserError(
                f"{self.source} has no {self.measure.name} on {split} images after {epochs} "
                f"epochs; it has those after {known}"
            )
        return columns[epochs]

    @property
    def report(self) -> str:
        """The metric to report: the test images after the longest training.

        Raises:
          UserError: when the table has none.
        """
        return self.select("test")

    def seconds(self, epochs: int | None = None) -> Column | None:
        """Returns what it took to train each network, in seconds; None where nothing is known.

        Args:
          epochs: after how many epochs; None takes the most there are.
        """
        if not self.training_seconds:
            return None
        epochs = _longest(self.training_seconds) if epochs is None else epochs
        return self.training_seconds.get(epochs)

    def listed(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the architectures that have a value of a metric, and these values.

        Returns:
          `int32[N, D]`, ordered by their options, and `float32[N]`.
        """
        column, widths = self.metrics[metric], _widths(self.space)
        if isinstance(column, SparseColumn):
            keys, values = np.asarray(column.keys), np.asarray(column.values)
            return architectures_of(widths, keys[known := ~np.isnan(values)]), values[known]
        rows = np.flatnonzero(~np.isnan(column))
        architectures = np.stack(np.unravel_index(rows, widths), axis=1)
        return architectures.astype(np.int32), column[rows]

    @property
    def known(self) -> int:
        """How many architectures the table has."""
        return len(self.listed(next(iter(self.metrics)))[1])


def _longest(columns):
    return max(columns, key=lambda epochs: -1 if epochs is None else epochs)


def chosen_set(
    source: str, data_set: str | None, known: Iterable[str], what: str = "data set"
) -> str:
    """Returns the data set or task that was asked for, or the first that a file has.

    Args:
      source: the file's name.
      data_set: what was asked for; None asks for the first.
      known: what the file has.
      what: what they are called in messages.

    Raises:
      UserError: when the file does not have it; lists what it has.
    """
    known = list(known)
    return known[0] if data_set is None else choose(data_set, known, f"{what} of {source}")


def make_benchmark(
    source: str,
    space: Choices,
    architectures: np.ndarray,
    columns: Columns,
    measure: Measure = ACCURACY,
    *,
    seconds: Mapping[int | None, np.ndarray] | None = None,
    gaps: bool = False,
) -> Benchmark:
    """Returns a checked benchmark.

    Args:
      source: where it is from, for people.
      space: what the architectures are of.
      architectures: `int32[N, D]`, each once.
      columns: what each of them reaches.
      measure: what that is.
      seconds: by epochs of training, what training each of them took, `float[N]`.
      gaps: whether the file may lack a value of some networks; NaN stands for these.

    Raises:
      UserError: names what is missing, or the row of what cannot be.
    """
    if not len(architectures) or not columns:
        raise UserError("the table is empty")
    check_architectures(space, architectures)
    metrics: dict[str, Column] = {}
    by_split: dict[str, dict[int | None, str]] = {split: {} for split in SPLITS}
    for (split, epochs), values in columns.items():
        name = f"{split}_{measure.name}" + ("" if epochs is None else f"_{epochs}")
        _check_values(name, values, len(architectures), measure, gaps)
        shares = values / 100.0 if measure.percent else values
        metrics[name] = make_column(space, architectures, shares)
        by_split[split][epochs] = name
    for split, names in by_split.items():
        # After a short training even the best network may reach less than one percent.
        if names and measure.percent:
            _check_percent(names[_longest(names)], columns[split, _longest(names)])
    training_seconds: dict[int | None, Column] = {}
    for epochs, values in (seconds or {}).items():
        name = "seconds of training" + ("" if epochs is None else f" for {epochs} epochs")
        _check_values(name, values, len(architectures), _SECONDS, gaps)
        training_seconds[epochs] = make_column(space, architectures, values)
    return Benchmark(
        source, space, metrics, by_split["validation"], by_split["test"], measure, training_seconds
    )


def make_column(space: Choices, architectures: np.ndarray, values: np.ndarray) -> Column:
    """Returns what is known of some architectures as a column.

    Args:
      space: what the architectures are of.
      architectures: `int32[N, D]`, each once.
      values: `float[N]`.
    """
    widths = _widths(space)
    if math.prod(widths) > _MOST:
        return make_sparse(widths, architectures, values)
    column = np.full(math.prod(widths), np.nan, np.float32)
    column[numbers_of(space, architectures)] = values
    return column


def look_up(
    space: Choices, metrics: Mapping[str, Column], architectures: jax.typing.ArrayLike
) -> dict[str, jax.Array]:
    """Returns metrics of architectures, `{metric: float32[n]}`; pure.

    Args:
      space: the benchmark's.
      metrics: a `Column` each, of `Benchmark.metrics`, as inputs of the compiled program.
      architectures: `int32[n, D]`; what is none of the space, or not in the table, is NaN.
    """
    asked, widths = jnp.asarray(architectures), _widths(space)
    chex.assert_rank(asked, 2)
    inside = ((asked >= 0) & (asked < jnp.array(widths))).all(axis=1)
    # What is none of the space would be read as another architecture's row.
    members = jnp.where(inside[:, None], asked, 0)

    def read(column):
        if isinstance(column, SparseColumn):
            return read_sparse(widths, column, members)
        return jnp.asarray(column)[numbers_of(space, members)]

    return {name: jnp.where(inside, read(column), jnp.nan) for name, column in metrics.items()}


def _widths(space):
    return [len(decision.options) for decision in space.decisions]


def numbers_of(space: Choices, architectures: np.ndarray | jax.Array) -> Any:
    """Returns the number of each architecture (`int32[N, D]`): its row in a column.

    It is `int64[N]` of NumPy arrays, and `int32[N]` of JAX arrays, which larger spaces have no rows
    for.
    """
    widths = _widths(space)
    factors = [math.prod(widths[place + 1 :]) for place in range(len(widths))]
    kind = np.int64 if isinstance(architectures, np.ndarray) else np.int32
    return (architectures * np.array(factors, kind)).sum(axis=1)


def _check_values(name, values, count, measure, gaps):
    if values.shape != (count,) or not np.issubdtype(values.dtype, np.floating):
        raise UserError(
            f"{name} must be float[{count}], one number for each architecture, got "
            f"{values.dtype}{list(values.shape)}"
        )
    inside = np.isfinite(values) & (values >= measure.lowest) & (values <= measure.highest)
    wrong = np.flatnonzero(~(inside | (np.isnan(values) & gaps)))
    if len(wrong):
        raise UserError(
            f"row [{wrong[0]}]: {name} must be a number {'of percent ' * measure.percent}from "
            f"{measure.lowest:g} to {measure.highest:g}, got {values[wrong[0]]}"
        )


def _check_percent(name, values):
    most = np.nanmax(values, initial=0)
    if most <= 1:
        raise UserError(f"{name} is at most {most}: percent from 0 to 100 are wanted")
