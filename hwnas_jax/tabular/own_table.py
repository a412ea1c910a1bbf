"""A table that `hwnas table` has made, as a benchmark.

`hwnas_jax.cost.files.table_file` describes the file. What the benchmark says of a network is the
mean over the seeds. Networks that were not trained have no values. Architectures that build the
same network have the same values, whichever of them the file names. Only where a space has too many
architectures to list, those of the file alone are known.
"""

from collections.abc import Mapping

import numpy as np

from hwnas_jax.cost.files.table_file import TableFile, is_table, parse_table
from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Choices
from hwnas_jax.tabular.base import Benchmark, Columns, Measure, make_benchmark
from hwnas_jax.tabular.make.networks import can_be_listed

__all__ = ["is_table", "measure_of", "read_table"]


def read_table(source: str, arrays: Mapping[str, np.ndarray], data_set: str | None) -> Benchmark:
    """Returns the benchmark.

    A metric that is better when lower is turned round: its values are negative.

    Args:
      source: the file's name.
      arrays: what it holds.
      data_set: the file's own, or None.

    Raises:
      UserError: for another data set, and for what is missing or cannot be.
    """
    table = parse_table(arrays)
    if data_set is not None:
        choose(data_set, (table.data_set,), f"data set of {source}")
    measure, sign = measure_of(table), 1.0 if table.higher_is_better else -1.0
    factor = sign * (100.0 if measure.percent else 1.0)
    means = {
        (split, epochs): factor * values.astype(float).mean(axis=1)
        for split, every in (("validation", table.validation), ("test", table.test))
        for epochs, values in zip(table.epochs, every, strict=True)
    }
    trained = ~np.isnan(np.stack(list(means.values()))).any(axis=0)
    if not trained.any():
        raise UserError("every training has diverged")
    architectures, rows = _every_name(table.space, table.architectures[trained])
    columns: Columns = {key: values[trained][rows] for key, values in means.items()}
    seconds: dict[int | None, np.ndarray] = {
        epochs: values.astype(float).mean(axis=1)[trained][rows]
        for epochs, values in zip(table.epochs, table.seconds, strict=True)
    }
    return make_benchmark(
        f"{source}:{table.data_set}", table.space, architectures, columns, measure, seconds=seconds
    )


def measure_of(table: TableFile) -> Measure:
    """Returns what a table says of its networks, in the way that more of it is better."""
    if table.unit == "%" and table.higher_is_better:
        return Measure(table.metric, 0, 100, percent=True)
    if table.higher_is_better:
        return Measure(table.metric, -np.inf, np.inf)
    return Measure(f"negative_{table.metric}", -np.inf, np.inf)


def _every_name(space: Choices, networks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns all architectures that build one of some networks.

    Args:
      space: theirs.
      networks: `int32[N, D]`, each another network.

    Returns:
      `int32[n, D]`, and for each of them the row of its network, `int[n]`.
    """
    if not can_be_listed(space):
        return networks, np.arange(len(networks))
    # A network may be named by a form whose options are switched off, which is not listed.
    every = np.unique(np.concatenate([space.enumerate(), networks]), axis=0)
    forms = space.canonical(np.concatenate([networks, every]))
    _, kind = np.unique(forms, axis=0, return_inverse=True)
    kind = kind.ravel()
    row_of = np.full(kind.max() + 1, -1)
    row_of[kind[: len(networks)]] = np.arange(len(networks))
    rows = row_of[kind[len(networks) :]]
    return every[rows >= 0], rows[rows >= 0]
