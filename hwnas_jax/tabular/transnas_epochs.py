"""TransNAS-Bench-101 as its authors publish it: every epoch of every training.

The file `transnas-bench_v10141024.pth` is one of torch.save, of plain values:

    data    by space ("macro", "micro"), network ("64-4111-basic", "64-41414-1_02_333") and task,
            metrics: a list by epoch of valid_top1, test_top1, time_elapsed and so on

A data set is a space and a task, such as "micro/class_object". What a network reaches after a
number of epochs is its best epoch so far by the validation images, and at that epoch the test
images. So the validation column of the longest training is the published "best". `time_elapsed` is
seconds since the training began; where such times fall in a file, they are not taken for seconds.

References: Duan et al., "TransNAS-Bench-101: Improving Transferability and Generalizability of
Cross-Task Neural Architecture Search", CVPR 2021; github.com/yawen-d/TransNASBench.

Legend: `N` networks, `E` epochs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hwnas_jax.cost.files.readers.build_table import encode_texts
from hwnas_jax.errors import UserError
from hwnas_jax.files.pickles import fault
from hwnas_jax.tabular.base import SPLITS, Benchmark, Columns, chosen_set, make_benchmark
from hwnas_jax.tabular.transnas_cell import cell_networks
from hwnas_jax.tabular.transnas_macro import macro_networks
from hwnas_jax.tabular.transnas_tasks import MEASURES, PREFIXES

_SPACES = {"micro": cell_networks, "macro": macro_networks}
_TIME = "time_elapsed"


def has_epochs(content: Any) -> bool:
    """Returns whether a file is of this format."""
    data = content.get("data") if isinstance(content, dict) else None
    return isinstance(data, dict) and bool(data.keys() & _SPACES.keys())


def read_epochs(source: str, content: Mapping[str, Any], data_set: str | None) -> Benchmark:
    """Returns the benchmark of one space and task.

    Args:
      source: the file's name.
      content: what it holds.
      data_set: such as "micro/class_object"; the first of the file when left out.

    Raises:
      UserError: for a task that is not there; names the network whose results are damaged.
    """
    data = {name: content["data"][name] for name in _SPACES if name in content["data"]}
    known = [f"{name}/{task}" for name, networks in data.items() for task in _tasks(networks)]
    if not known:
        raise UserError("its data hold no network with results of a task")
    chosen = chosen_set(source, data_set, known, "space and task")
    name, _, task = chosen.partition("/")
    metrics = {}
    for network, results in data[name].items():
        try:
            metrics[network] = results[task]["metrics"]
            names = metrics[network].keys()
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{network}: it has no results of {task}: {fault(error)}") from error
    measures = [measure for measure in MEASURES if f"valid_{measure}" in names]
    if not measures:
        raise UserError(f"{task} has none of {', '.join(MEASURES)}, but {', '.join(names)}")
    validation, test = (_by_epoch(metrics, f"{prefix}_{measures[0]}") for prefix in PREFIXES)
    if validation.shape != test.shape:
        raise UserError(f"{task} has other epochs of validation than of test images")
    best = _best_so_far(validation)
    columns: Columns = {}
    for split, curve in zip(SPLITS, (validation, test), strict=True):
        reached = np.take_along_axis(curve, best, axis=1)
        columns |= {(split, epoch + 1): column for epoch, column in enumerate(reached.T)}
    space = _SPACES[name]()
    return make_benchmark(
        f"{source}:{chosen}", space, encode_texts(space, list(metrics)), columns,
        MEASURES[measures[0]], seconds=_elapsed(metrics, validation.shape[1]),
    )  # fmt: skip


def _tasks(networks: Any) -> list[str]:
    first = next(iter(networks.values()), None) if isinstance(networks, dict) else None
    return [str(task) for task in first] if isinstance(first, dict) else []


def _by_epoch(metrics: Mapping[str, Any], name: str) -> np.ndarray:
    """Returns what networks reach after each epoch, `float64[N, E]`."""
    rows: list[np.ndarray] = []
    for network, own in metrics.items():
        try:
            row = np.array([float(value) for value in own[name]])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{network}: {name} is no list of numbers: {fault(error)}") from error
        if not len(row) or (rows and len(row) != len(rows[0])):
            raise UserError(
                f"{network}: {name} has {len(row)} epochs, the networks before have "
                f"{len(rows[0]) if rows else 'at least one'}"
            )
        rows.append(row)
    return np.stack(rows)


def _best_so_far(curve: np.ndarray) -> np.ndarray:
    """Returns the epoch with the best value of those up to each epoch, `int[N, E]`."""
    before = np.maximum.accumulate(curve, axis=1)
    better = np.ones(curve.shape, bool)
    better[:, 1:] = curve[:, 1:] > before[:, :-1]
    return np.maximum.accumulate(np.where(better, np.arange(curve.shape[1]), 0), axis=1)


def _elapsed(metrics: Mapping[str, Any], epochs: int) -> dict[int | None, np.ndarray]:
    """Returns the seconds until each epoch; nothing where the file has no such times."""
    if not all(_TIME in own for own in metrics.values()):
        return {}
    times = _by_epoch(metrics, _TIME)
    if times.shape[1] != epochs or (np.diff(times, axis=1) < 0).any():
        return {}
    return {epoch + 1: column for epoch, column in enumerate(times.T)}
