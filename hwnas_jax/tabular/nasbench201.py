"""NAS-Bench-201: every cell trained on three data sets, for 12 and for 200 epochs.

The file is a `.npz` of plain arrays, `N` cells:

    ops                   uint8[N, 6], the operation of each edge, indices into op_names
    op_names              the operations' names
    cifar100_valid_200    float[N], percent: data set, split, epochs
    cifar100_test_200     likewise, and so on for every data set and number of epochs
    cifar10valid_valid_200, cifar10_test_200
                          CIFAR-10 is trained on half of its training images where validation
                          accuracy is measured, on all of them where test accuracy is

Other data sets may be named in the same way.

References: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture
Search", ICLR 2020; Dong et al., "NATS-Bench", TPAMI 2021.
"""

import re
from collections.abc import Mapping

import numpy as np

from hwnas_jax.cost.files.readers.build_table import encode_names
from hwnas_jax.files.npz import named, numbers, texts
from hwnas_jax.spaces.core import published
from hwnas_jax.spaces.nasbench201 import CellChoices
from hwnas_jax.tabular.base import Benchmark, Columns, chosen_set, make_benchmark

_COLUMN = re.compile(r"(?P<set>\w+)_(?P<split>valid|test)_(?P<epochs>\d+)")
_HALF = "valid"
_SIZES = {
    "cifar10": ((32, 32, 3), 10),
    "cifar100": ((32, 32, 3), 100),
    "imagenet16_120": ((16, 16, 3), 120),
}


def has_columns(arrays: Mapping[str, np.ndarray]) -> bool:
    """Returns whether a file is of this format."""
    return any(_COLUMN.fullmatch(name) for name in arrays)


def read_cells(source: str, arrays: Mapping[str, np.ndarray], data_set: str | None) -> Benchmark:
    """Returns the benchmark of one data set.

    Args:
      source: the file's name.
      arrays: what it holds.
      data_set: "cifar10", "cifar100", "imagenet16_120", or another that the file names; the first
        of the file when left out.

    Raises:
      UserError: for a data set that is not there, and for what is missing or cannot be.
    """
    found = [match for name in arrays if (match := _COLUMN.fullmatch(name))]
    sets = dict.fromkeys(_set_of(match) for match in found)
    name = chosen_set(source, data_set, sets)
    architectures = encode_names(
        published.nasbench201(), named(numbers(arrays, "ops", 2), texts(arrays, "op_names"))
    )
    columns: Columns = {}
    for match in found:
        # After training on one half only, the test images say less: they are not reported.
        on_half = match["set"] != _set_of(match)
        if _set_of(match) != name or (on_half and match["split"] == "test"):
            continue
        split = {"valid": "validation", "test": "test"}[match["split"]]
        columns[split, int(match["epochs"])] = numbers(arrays, match.string, 1)
    return make_benchmark(f"{source}:{name}", cells_of(name), architectures, columns)


def _set_of(match):
    """Returns the data set of a column; that of "cifar10valid_valid_200" is cifar10."""
    name = match["set"]
    return name.removesuffix(_HALF) if name.removesuffix(_HALF) in _SIZES else name


def cells_of(data_set: str) -> CellChoices:
    """Returns the cells as they are trained on a data set; the decisions alone if it is unknown."""
    if data_set in _SIZES:
        return published.nasbench201(*_SIZES[data_set])
    return CellChoices(f"nasbench201_{data_set}")
