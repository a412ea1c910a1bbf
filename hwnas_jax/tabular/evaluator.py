"""A tabular benchmark as an evaluator."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge

from hwnas_jax.search.evaluators.base import EVALUATORS, Bench, Evaluator, Score
from hwnas_jax.tabular.base import Benchmark, Column, look_up
from hwnas_jax.tabular.load import load_benchmark
from hwnas_jax.tabular.standing import check_decisions


@EVALUATORS.add
@dataclasses.dataclass(frozen=True)
class Table(Evaluator):
    """Looks up what was trained before: a search of a thousand networks takes a moment.

    It returns `accuracy`, which the search selects by, and `test_accuracy`, which is to be
    reported of what it found. The first is on validation images and may be of a short training,
    the second is always of the longest. For a task with another measure, such as structural
    similarity, the two names stand for that measure.
    """

    name = "table"
    summary = "a table: built_in, one of `hwnas table`, NAS-Bench-201 and other published ones"

    path: str
    """the benchmark's file or folder, its name in the folder HWNAS_DATA, or built_in"""
    data_set: str | None = None
    """one of the benchmark's data sets or tasks; its first when left out"""
    epochs: Annotated[int, Ge(1)] | None = None
    """select after so many epochs of training; the most there are when left out. Shorter trainings
    that the table knows are lower fidelities"""
    split: Literal["validation", "test"] = "validation"
    """images to select by; with test the search sees what is reported: optimistic"""

    def score(self, bench: Bench) -> Score:
        """Returns that accuracy ranks, whatever the task's own metric."""
        del bench
        return Score("accuracy", True)

    def fidelities(self, bench: Bench) -> tuple[float, ...]:
        """Returns the epochs of the trainings that are known, as shares of the longest."""
        del bench
        epochs = self._lengths(self._benchmark())
        if epochs == [None]:
            return (1.0,)
        return tuple(own / max(filter(None, epochs)) for own in epochs if own)

    def arrays(self, bench: Bench) -> dict[str, Column]:
        """Returns the columns of the table.

        Raises:
          UserError: when the file cannot be used, lacks what the options ask for, or is of other
            decisions than the space.
        """
        table = self._benchmark()
        check_decisions(bench.space, table.space, table.source)
        found = {"test_accuracy": table.metrics[table.report]}
        lengths = self._lengths(table)
        seconds = [table.seconds(epochs) for epochs in lengths]
        for place, epochs in enumerate(lengths):
            found[f"accuracy_{place}"] = table.metrics[table.select(self.split, epochs)]
            if all(column is not None for column in seconds):
                found[f"seconds_{place}"] = seconds[place]
        return found

    def evaluate(
        self, bench: Bench, arrays: dict[str, Column], architectures: jax.Array,
        fidelity: jax.Array, key: jax.Array,
    ) -> dict[str, jax.Array]:  # fmt: skip
        """Returns `accuracy` and `test_accuracy`, `float32[n]` in [0, 1]; uses no `key`.

        And `seconds`, where the table knows what each training took.
        """
        del key
        found = look_up(bench.space, arrays, architectures)
        metrics = {"test_accuracy": found["test_accuracy"]}
        for name in ("accuracy", "seconds"):
            levels = [found[key] for key in sorted(found, key=_place) if key.startswith(f"{name}_")]
            if levels:
                metrics[name] = levels[0] if len(levels) == 1 else jnp.stack(levels)[fidelity]
        return metrics

    def _benchmark(self) -> Benchmark:
        return load_benchmark(self.path, data_set=self.data_set)

    def _lengths(self, table: Benchmark) -> Sequence[int | None]:
        """Returns the epochs of training that can be selected by, the most first."""
        table.select(self.split, self.epochs)  # says what is wrong
        known = table.validation if self.split == "validation" else table.test
        if self.epochs is None and None in known:
            return [None]
        lengths = sorted((epochs for epochs in known if epochs), reverse=True)
        return [epochs for epochs in lengths if epochs <= (self.epochs or lengths[0])]


def _place(name: str) -> int:
    """Returns the fidelity in the name of a column, such as `accuracy_2`."""
    tail = name.rpartition("_")[2]
    return int(tail) if tail.isdecimal() else -1
