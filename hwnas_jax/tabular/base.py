"""What a tabular benchmark is: how well every architecture of a space does after training.

Legend: `n` architectures, `D` decisions, `A` architectures that the decisions allow for.

An architecture's number is that of its options in mixed radix, the last decision running fastest;
it is also its row in every column, so that looking one up is pure and needs no search.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.readers.table_checks import check_architectures
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices

_MOST = 2**24

SPLITS = ("validation", "test")

Columns = dict[tuple[str, int | None], np.ndarray]
"""By split and epochs of training, what the file says of each network, `float[N]`."""


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


@dataclasses.dataclass(frozen=True, eq=False)
class Benchmark:
    """A table of accuracies, or of another measure that is better the larger it is.

    What a search selects by and what is reported of its result have names of their own: those of
    `select` and `report`. Selecting by the test images is possible, and has to be asked for.

    Attributes:
      source: where it is from, for people.
      space: what the architectures are of.
      metrics: by name, `float32[A]`; accuracies and other shares are in [0, 1]. NaN stands for
        what the table lacks.
      validation: by epochs of training, the metric of the validation images; None stands for a
        length of training that the table does not tell.
      test: likewise of the test images.
      measure: what is measured.
    """

    source: str
    space: Choices
    metrics: Mapping[str, np.ndarray]
    validation: Mapping[int | None, str]
    test: Mapping[int | None, str]
    measure: Measure = ACCURACY

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

    @property
    def known(self) -> int:
        """How many architectures the table has."""
        return int(np.sum(~np.isnan(next(iter(self.metrics.values())))))


def _longest(columns):
    return max(columns, key=lambda epochs: -1 if epochs is None else epochs)


def make_benchmark(
    source: str,
    space: Choices,
    architectures: np.ndarray,
    columns: Columns,
    measure: Measure = ACCURACY,
) -> Benchmark:
    """Returns a checked benchmark.

    Args:
      source: where it is from, for people.
      space: what the architectures are of.
      architectures: `int32[N, D]`, each once.
      columns: what each of them reaches.
      measure: what that is.

    Raises:
      UserError: names what is missing, or the row of what cannot be.
    """
    size = math.prod(_widths(space))
    if size > _MOST:
        raise UserError(f"{space.name} has {size:,} architectures, more than a table can hold")
    if not len(architectures) or not columns:
        raise UserError("the table is empty")
    check_architectures(space, architectures)
    rows = np.asarray(numbers_of(space, architectures))
    metrics: dict[str, np.ndarray] = {}
    by_split: dict[str, dict[int | None, str]] = {split: {} for split in SPLITS}
    for (split, epochs), values in columns.items():
        name = f"{split}_{measure.name}" + ("" if epochs is None else f"_{epochs}")
        _check_values(name, values, len(architectures), measure)
        metrics[name] = np.full(size, np.nan, np.float32)
        metrics[name][rows] = values / 100.0 if measure.percent else values
        by_split[split][epochs] = name
    return Benchmark(source, space, metrics, by_split["validation"], by_split["test"], measure)


def look_up(
    space: Choices, metrics: Mapping[str, jax.typing.ArrayLike], architectures: jax.Array
) -> dict[str, jax.Array]:
    """Returns metrics of architectures, `{metric: float32[n]}`; pure.

    Args:
      space: the benchmark's.
      metrics: `float32[A]` each, of `Benchmark.metrics`, as inputs of the compiled program.
      architectures: `int32[n, D]`; what is none of the space, or not in the table, is NaN.
    """
    chex.assert_rank(architectures, 2)
    inside = (architectures >= 0) & (architectures < jnp.array(_widths(space)))
    rows = jnp.where(inside.all(axis=1), numbers_of(space, jnp.asarray(architectures)), 0)
    return {
        name: jnp.where(inside.all(axis=1), jnp.asarray(column)[rows], jnp.nan)
        for name, column in metrics.items()
    }


def _widths(space):
    return [len(decision.options) for decision in space.decisions]


def numbers_of(space: Choices, architectures: np.ndarray | jax.Array) -> Any:
    """Returns the number of each architecture (`int32[N, D]`), `int32[N]`: its row in a column."""
    widths = _widths(space)
    factors = [math.prod(widths[place + 1 :]) for place in range(len(widths))]
    return (architectures * np.array(factors, np.int32)).sum(axis=1)


def _check_values(name, values, count, measure):
    if values.shape != (count,) or not np.issubdtype(values.dtype, np.floating):
        raise UserError(
            f"{name} must be float[{count}], one number for each architecture, got "
            f"{values.dtype}{list(values.shape)}"
        )
    inside = (values >= measure.lowest) & (values <= measure.highest)
    wrong = np.flatnonzero(~(np.isfinite(values) & inside))
    if len(wrong):
        raise UserError(
            f"row {wrong[0]}: {name} must be a number {'of percent ' * measure.percent}from "
            f"{measure.lowest:g} to {measure.highest:g}, got {values[wrong[0]]}"
        )
    if measure.percent and values.max() <= 1:
        raise UserError(f"{name} is at most {values.max()}: percent from 0 to 100 are wanted")
