"""Compact tables: `.npz` files of plain arrays. Which table it is shows in the arrays' names.

Legend: `N` architectures, `V` devices, `T` tasks.

    NAS-Bench-201, FBNet   ops uint8[N, D], op_names, devices[V], latency_ms[V, N]
    Once-for-All           ks, e uint8[N, 20], d uint8[N, 5], r uint8[N], devices, latency_ms
    several tasks          ops, op_names, tasks[T], backends[V], latency_ms[T, V, N], energy_mj
    Accel-NASBench         architecture, names, throughput_a100_images_per_s, ...

`train_devices`, `valid_devices`, `test_devices` and `ref_idx` are read where present.
"""

from pathlib import Path

import numpy as np

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.files.readers.accel_nasbench import has_networks, read_accelerators
from hwnas_jax.cost.files.readers.build_table import encode_names, make_table, require_numbers
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.npz import named, numbers, read_npz, texts
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core import published

_SPLITS = ("train", "valid", "test")


def read_compact(path: Path, *, task: str | None = None) -> CostTable:
    """Reads one compact table.

    Args:
      path: the `.npz` file. Nothing in it is unpickled.
      task: which task, for a file of several; None takes the first.

    Raises:
      UserError: says what is missing, damaged or impossible.
    """
    arrays = read_npz(path)
    if "tasks" in arrays:
        return _of_task(arrays, task, path.name)
    if task is not None:
        raise UserError(f"it has no tasks, so none is called {task!r}")
    if has_networks(arrays):
        return read_accelerators(path.name, arrays)
    if {"ks", "e", "d", "r"} <= arrays.keys():
        space: Choices = published.OnceForAll()
        values = np.concatenate(
            [numbers(arrays, name, 2) for name in ("ks", "e", "d")]
            + [numbers(arrays, "r", 1)[:, None]],
            axis=1,
        )
        architectures = encode_names(space, values.astype(str))
    else:
        ops, names = numbers(arrays, "ops", 2), texts(arrays, "op_names")
        space = published.fbnet() if ops.shape[1] == 22 else published.nasbench201()
        architectures = encode_names(space, named(ops, names))
    return make_table(
        path.name, space, architectures, texts(arrays, "devices"),
        {"latency_ms": require_numbers(numbers(arrays, "latency_ms", 2), "latency_ms")},
        {name: texts(arrays, f"{name}_devices") for name in _SPLITS
         if f"{name}_devices" in arrays},
        _references(arrays),
    )  # fmt: skip


def _references(arrays):
    if "ref_idx" not in arrays:
        return np.zeros(0, int)
    rows = numbers(arrays, "ref_idx", 1)
    if not np.issubdtype(rows.dtype, np.integer):
        raise UserError(f"ref_idx must be whole numbers, got {rows.dtype}")
    return rows


def _of_task(arrays, task, source):
    tasks = texts(arrays, "tasks")
    if not tasks:
        raise UserError("its list of tasks is empty")
    task = tasks[0] if task is None else choose(task, tasks, "task")
    number = tasks.index(task)
    space: Choices
    match task:
        case "cifar100":
            space = published.nasbench201(num_outputs=100)
        case "ninapro":
            space = published.nasbench201((52, 16, 1), 18)
        case _:  # dense outputs: the cells are the same, the network around them is not
            space = published.CellChoices(f"nasbench201_{task}")
    architectures = encode_names(space, named(numbers(arrays, "ops", 2), texts(arrays, "op_names")))
    devices = texts(arrays, "backends")
    values = {}
    for metric in ("latency_ms", "energy_mj"):
        if metric in arrays:
            every = numbers(arrays, metric, 3)
            if len(every) != len(tasks) or every.shape[1] > len(devices):
                raise UserError(
                    f"{metric} has shape {list(every.shape)}, and there are {len(tasks)} tasks and "
                    f"{len(devices)} backends"
                )
            known = require_numbers(every[number].astype(float), metric)
            missing = np.full((len(devices) - len(known), known.shape[1]), np.nan)
            values[metric] = np.concatenate([known, missing])
    return make_table(f"{source}:{task}", space, architectures, devices, values)
