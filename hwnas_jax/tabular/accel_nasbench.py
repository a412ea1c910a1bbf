"""Accel-NASBench: how well 5,125 networks of MnasNet's blocks do on ImageNet.

The networks, and what each costs on accelerators, are those of
`hwnas_jax.cost.files.readers.accel_nasbench`. Beside them the file has, for `N` rows,

    top1            float[N], percent, after a training that is shortened
    train_time_s    float[N], seconds of that training

The accuracy is on ImageNet's validation images, which no training saw; there are no other images to
select by. Two trainings of one network become their mean. The package's own `mnasnet` has other
decisions; a space of your own with those of `hwnas_jax.spaces.core.published.accel_nasbench` can be
searched, but most of its networks are unknown to the table.

References: Ahmad et al., "Accel-NASBench: Sustainable Benchmarking for Accelerator-Aware NAS", DAC
2024.
"""

from collections.abc import Mapping

import numpy as np

from hwnas_jax.cost.files.readers.accel_nasbench import Networks, read_networks
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import numbers
from hwnas_jax.tabular.base import Benchmark, Columns, chosen_set, make_benchmark

_DATA_SET = "imagenet"


def read_imagenet(source: str, arrays: Mapping[str, np.ndarray], data_set: str | None) -> Benchmark:
    """Returns the benchmark.

    Args:
      source: the file's name.
      arrays: what it holds.
      data_set: "imagenet", or None.

    Raises:
      UserError: for another data set, and for what is missing or cannot be.
    """
    name, networks = chosen_set(source, data_set, (_DATA_SET,)), read_networks(arrays)
    columns: Columns = {("test", None): _means(arrays, "top1", networks)}
    seconds: dict[int | None, np.ndarray] = {}
    if "train_time_s" in arrays:
        seconds[None] = _means(arrays, "train_time_s", networks)
    return make_benchmark(
        f"{source}:{name}", networks.space, networks.architectures, columns, seconds=seconds
    )


def _means(arrays, name, networks: Networks):
    column = numbers(arrays, name, 1).astype(float)
    if len(column) != len(networks.rows) or np.isnan(column).any():
        raise UserError(
            f"{name} must have a number for each of {len(networks.rows)} networks, got "
            f"{len(column)}, {int(np.isnan(column).sum())} of them NaN"
        )
    return networks.means(column)
