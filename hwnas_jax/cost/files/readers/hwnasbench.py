"""The pickle of HW-NAS-Bench: measured and estimated costs on six edge devices.

    {"nasbench201": {data set: {"config": [{"arch_str": ...}], "edgegpu_latency": [...], ...}},
     "fbnet": {"edgegpu_latency": {block: cost}, ...}}

Latencies are in milliseconds, energies in millijoules. For FBNet's space the file gives the costs
of blocks by their shapes. The cost of a network is their sum, as the authors define it.

References: Li et al., "HW-NAS-Bench: Hardware-Aware Neural Architecture Search Benchmark", ICLR
2021; github.com/GATECH-EIC/HW-NAS-Bench.

Legend: `N` architectures, `D` decisions, `K` options of the widest decision, `V` devices.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.files.readers.build_table import encode_texts, make_table, require_numbers
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.pickles import fault, kind_of, load_pickle
from hwnas_jax.spaces.core import published
from hwnas_jax.spaces.fbnet import FBNet

_METRICS = {"latency": "latency_ms", "energy": "energy_mj"}
_CELLS = {"cifar10": (32, 10), "cifar100": (32, 100), "ImageNet16-120": (16, 120)}
_SAMPLE = 5000


def read_hwnasbench(path: Path, *, task: str | None = None) -> CostTable:
    """Reads one data set of the pickle.

    Args:
      path: the file. Nothing in it is run.
      task: "nasbench201/cifar10", "nasbench201/cifar100", "nasbench201/ImageNet16-120",
        "fbnet/cifar100" or "fbnet/ImageNet". None takes the first that is there.

    Returns:
      All cells of NAS-Bench-201, or 5,000 architectures of FBNet's space, drawn with seed 0.

    Raises:
      UserError: says what is missing or damaged, or which function the pickle tried to name.
    """
    content = load_pickle(path)
    tasks = {}
    if isinstance(content, dict):
        cells = content.get("nasbench201")
        if isinstance(cells, dict):
            tasks = {f"nasbench201/{name}": table for name, table in cells.items()}
        if isinstance(content.get("fbnet"), dict):
            tasks |= {f"fbnet/{name}": content["fbnet"] for name in _NETWORKS}
    if not tasks:
        raise UserError("it is not HW-NAS-Bench: it has neither 'nasbench201' nor 'fbnet'")
    task = next(iter(tasks)) if task is None else choose(task, tasks, "task in it")
    family, _, name = task.partition("/")
    if not isinstance(tasks[task], dict):
        raise UserError(f"{task} must be a table of lists")
    if family == "fbnet":
        table = _lookup(tasks[task], name)
        drawn = table.space.random(np.random.default_rng(0), _SAMPLE)
        return table.costs(np.unique(drawn, axis=0), f"HW-NAS-Bench {task}")
    return _cells(tasks[task], task, name)


def _cells(table, task, name):
    size, classes = _CELLS.get(name, (32, 10))
    space = published.nasbench201((size, size, 3), classes)
    configs = _listed(table.get("config"), "config")
    strings = []
    for row, config in enumerate(configs):
        if not isinstance(config, dict) or not isinstance(config.get("arch_str"), str):
            raise UserError(f"{task}, row [{row}]: its config has no arch_str")
        strings.append(config["arch_str"])
    architectures = encode_texts(space, strings, f"{task}, ")
    devices, columns = _columns(table)
    values = {
        metric: np.full((len(devices), len(strings)), np.nan) for _, metric in columns.values()
    }
    for key, (device, metric) in columns.items():
        try:
            column = np.asarray([float(value) for value in _listed(table[key], key)])
        except (TypeError, ValueError) as error:
            raise UserError(f"{task}, {key}: {fault(error)}") from error
        if len(column) != len(strings):
            raise UserError(f"{task}, {key}: {len(column)} values for {len(strings)} networks")
        values[metric][devices.index(device)] = require_numbers(column, f"{metric} of {device}")
    return make_table(f"HW-NAS-Bench {task}", space, architectures, devices, values)


def _columns(table):
    """Returns the devices, and the device and metric of each key of the file."""
    columns = {}
    for key in table:
        device, _, quantity = str(key).partition("_")
        if quantity in _METRICS:
            columns[key] = (device, _METRICS[quantity])
    if not columns:
        raise UserError(f"there is no latency or energy among {', '.join(map(str, table))}")
    return tuple(dict.fromkeys(device for device, _ in columns.values())), columns


def _listed(value: Any, what: str) -> list[Any]:
    """Returns the values of a list, of an array, or of a table with row numbers as keys."""
    if isinstance(value, dict):
        try:
            return [value[row] for row in range(len(value))]
        except KeyError as error:
            raise UserError(f"{what} has no row [{error}]") from error
    if not isinstance(value, list | tuple | np.ndarray):
        raise UserError(f"{what} must be a list, got {kind_of(value)}")
    return list(value)


@dataclasses.dataclass(frozen=True)
class BlockTable:
    """Costs that add up: a constant, and what each option adds.

    Attributes:
      space: FBNet's space.
      devices: names.
      tables: `float64[V, D, K]` by metric; NaN where a device lacks the metric.
      constants: `float64[V]` by metric.
    """

    space: FBNet
    devices: tuple[str, ...]
    tables: dict[str, np.ndarray]
    constants: dict[str, np.ndarray]

    def costs(self, architectures: np.ndarray, source: str) -> CostTable:
        """Returns what `architectures` (`int32[N, D]`, distinct) cost."""
        rows = np.arange(self.space.num_decisions)
        values = {
            metric: table[:, rows, architectures].sum(axis=-1) + self.constants[metric][:, None]
            for metric, table in self.tables.items()
        }
        return make_table(source, self.space, architectures, self.devices, values)


# Of each stage its output channels and its number of blocks. Of each data set the image size, the
# classes, the channels of the last convolution, the stride of the stem, and the stride of the first
# block of each stage.
_STAGES = ((16, 1), (24, 4), (32, 4), (64, 4), (112, 4), (184, 4), (352, 1))
_STEM = 16
_NETWORKS: dict[str, tuple[int, int, int, int, tuple[int, ...]]] = {
    "cifar100": (32, 100, 1504, 1, (1, 1, 2, 2, 1, 2, 1)),
    "ImageNet": (224, 1000, 1984, 2, (1, 2, 2, 2, 1, 2, 1)),
}


def _lookup(table, name) -> BlockTable:
    devices, columns = _columns(table)
    blocks, rest = _block_names(name)
    space = published.fbnet(_NETWORKS[name][0])
    metrics = dict.fromkeys(metric for _, metric in columns.values())
    shape = (len(devices), len(blocks), len(blocks[0]))
    tables = {metric: np.full(shape, np.nan) for metric in metrics}
    constants = {metric: np.full(len(devices), np.nan) for metric in metrics}
    for key, (device, metric) in columns.items():
        costs, number = table[key], devices.index(device)
        try:
            tables[metric][number] = [[float(costs[block]) for block in row] for row in blocks]
            constants[metric][number] = sum(float(costs[part]) for part in rest)
        except KeyError as error:
            raise UserError(f"fbnet, {key}: there is no block {error}") from error
        except (TypeError, ValueError) as error:
            raise UserError(f"fbnet, {key}: {fault(error)}") from error
        require_numbers(tables[metric][number].ravel(), f"{metric} of a block of {device}")
    return BlockTable(space, devices, tables, constants)


def _block_names(name):
    """Returns the file's names of each decision's options, and of what all networks have."""
    size, classes, last, stride, strides = _NETWORKS[name]
    rest = [f"ConvNorm_H{size}_W{size}_Cin3_Cout{_STEM}_kernel3_stride{stride}_group1"]
    size //= stride
    blocks, channels = [], _STEM
    for (width, count), first in zip(_STAGES, strides, strict=True):
        for number in range(count):
            step = 1 if number else first
            shape = f"H{size}_W{size}_Cin{channels}_Cout{width}"
            blocks.append([_block_name(option, shape, step) for option in FBNet.blocks])
            size, channels = size // step, width
    rest += [
        f"ConvNorm_H{size}_W{size}_Cin{channels}_Cout{last}_kernel1_stride1_group1",
        f"AvgP_H{size}_W{size}_Cin{last}_Cout{last}_kernel{size}_stride1",
        f"FC_Cin{last}_Cout{classes}",
    ]
    return blocks, rest


def _block_name(option, shape, stride):
    if option == "skip":
        return f"Skip_{shape}_stride{stride}"
    kernel, expansion, *group = option.split("_")
    groups = group[0][1:] if group else "1"
    return f"ConvBlock_{shape}_exp{expansion[1:]}_kernel{kernel[1:]}_stride{stride}_group{groups}"
