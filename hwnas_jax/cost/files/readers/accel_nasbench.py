"""Accel-NASBench: what 5,125 networks of MnasNet's blocks cost on six accelerators.

The file is a `.npz` of plain arrays, `N` rows:

    names                            texts[D]: block0_e, block0_k, block0_l, block0_se, and so on
    architecture                     int8[N, D], in that order
    throughput_tpuv2_images_per_s    float[N], and likewise tpuv3, a100, 3090, zcu102 and vck190
    latency_zcu102_ms                float[N], of one image, and likewise vck190
    top1                             float[N], percent; see hwnas_jax.tabular.accel_nasbench

Some networks were trained and measured twice: they become one, with the mean of both.

A throughput becomes the time per image, 1000 / throughput milliseconds, with many images under way
at once. The accelerators with a latency of their own have it as `zcu102` and `vck190`, and their
throughput as `zcu102_throughput` and `vck190_throughput`.

The throughput of both TPUs ends at 1,803 images a second, although one generation is far quicker
than the other: the input path could not deliver more. Near this limit a network's time says nothing
of the TPU, so that what lies above 95 % of it is taken as unknown. Below, from 800 images a second
on TPUv2 and from 1,300 on TPUv3, repeated measurements of one network still differ by 2 to 6 %.

References: Ahmad et al., "Accel-NASBench: Sustainable Benchmarking for Accelerator-Aware NAS", DAC
2024; github.com/afzalxo/Accel-NASBench.

Legend: `N` rows, `M` distinct networks, `D` decisions, `V` devices.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.files.readers.build_table import encode_names, make_table
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import numbers, texts
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core import published

_COLUMN = re.compile(r"throughput_(?P<quick>\w+)_images_per_s|latency_(?P<device>\w+)_ms")
_LIMITED = ("tpuv2", "tpuv3")
_LIMIT, _NEAR = 1803.0, 0.95


class Networks(NamedTuple):
    """The distinct networks of a file.

    Attributes:
      space: of the networks.
      architectures: `int32[M, D]`.
      rows: `int[N]`, the network of each row of the file.
    """

    space: Choices
    architectures: np.ndarray
    rows: np.ndarray

    def means(self, column: np.ndarray) -> np.ndarray:
        """Returns the mean over each network's rows, `float64[M]`, of a column, `float[N]`.

        What is unknown (NaN) in one row is left out; NaN remains where no row knows it.
        """
        known = ~np.isnan(column)
        count, total = np.zeros((2, len(self.architectures)))
        np.add.at(count, self.rows[known], 1)
        np.add.at(total, self.rows[known], column[known])
        return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def has_networks(arrays: Mapping[str, np.ndarray]) -> bool:
    """Returns whether a file is of this format."""
    return {"names", "architecture"} <= arrays.keys()


def read_networks(arrays: Mapping[str, np.ndarray]) -> Networks:
    """Returns the networks of a file.

    Raises:
      UserError: names what is missing or cannot be.
    """
    space, names = published.accel_nasbench(), texts(arrays, "names")
    wanted = [decision.name for decision in space.decisions]
    if sorted(names) != sorted(wanted):
        raise UserError(f"names must be {', '.join(wanted)}, got {', '.join(names)}")
    values = numbers(arrays, "architecture", 2)
    if values.shape[1] != len(names) or not np.issubdtype(values.dtype, np.integer):
        raise UserError(
            f"architecture must be whole numbers [N, {len(names)}], got "
            f"{values.dtype}{list(values.shape)}"
        )
    ordered = values[:, [names.index(name) for name in wanted]]
    every = encode_names(space, ordered.astype(str))
    architectures, rows = np.unique(every, axis=0, return_inverse=True)
    return Networks(space, architectures, rows.ravel())


def read_accelerators(source: str, arrays: Mapping[str, np.ndarray]) -> CostTable:
    """Returns the table of costs.

    Args:
      source: the file's name.
      arrays: what it holds.

    Raises:
      UserError: names what is missing, damaged or impossible.
    """
    networks = read_networks(arrays)
    found = [match for name in arrays if (match := _COLUMN.fullmatch(name))]
    if not found:
        raise UserError(
            f"it has no column such as throughput_a100_images_per_s, but {', '.join(arrays)}"
        )
    latencies = {match["device"] for match in found if match["device"]}
    columns, per_image, notes = {}, [], []
    for match in found:
        column = networks.means(_checked(numbers(arrays, match.string, 1), match.string, networks))
        device = match["device"] or match["quick"]
        if match["quick"]:
            if device in _LIMITED:
                near = column > _NEAR * _LIMIT
                column[near] = np.nan
                notes.append(
                    f"{device}: networks above {_NEAR * _LIMIT:.0f} images/s are left out, since "
                    f"the input path, not the device, bounds them at {_LIMIT:.0f}: {near.sum():,}"
                )
            column = 1e3 / column
            device += "_throughput" * (device in latencies)
            per_image.append(device)
        columns[device] = column
    if per_image:
        notes.insert(
            0, f"{', '.join(per_image)}: latency_ms is 1000 / throughput, the time per image with "
            "many images at once",
        )  # fmt: skip
    unknown = {device: int(np.isnan(column).sum()) for device, column in columns.items()}
    if any(unknown.values()):
        counts = ", ".join(f"{device} {count:,}" for device, count in unknown.items() if count)
        notes.append(f"networks without a value, of {len(networks.architectures):,}: {counts}")
    repeated = len(networks.rows) - len(networks.architectures)
    if repeated:
        notes.append(f"networks that are in the file twice, with the mean of both: {repeated:,}")
    table = make_table(
        source, networks.space, networks.architectures, tuple(columns),
        {"latency_ms": np.stack(list(columns.values()))},
    )  # fmt: skip
    return dataclasses.replace(table, notes=(*notes, *table.notes))


def _checked(column, name, networks):
    wrong = np.flatnonzero(~(np.isnan(column) | (np.isfinite(column) & (column > 0))))
    if len(column) != len(networks.rows):
        raise UserError(f"{name} has {len(column)} values for {len(networks.rows)} networks")
    if len(wrong):
        raise UserError(f"row [{wrong[0]}]: {name} must be positive, got {column[wrong[0]]}")
    return column
