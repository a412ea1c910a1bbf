"""NAS-Bench-Macro: every network of eight layers trained on CIFAR-10 with three seeds.

The file is a `.npz` of plain arrays, `N` networks:

    ops         uint8[N, 8], the block of each layer, indices into op_names
    op_names    the blocks' names
    test_acc    float[N, S], percent, of each of `S` seeds

It has no accuracy on validation images.

References: Su et al., "Prioritized Architecture Sampling with Monto-Carlo Tree Search", CVPR 2021.
"""

from collections.abc import Mapping

import numpy as np

from hwnas_jax.cost.files.readers.build_table import encode_names
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import named, numbers, texts
from hwnas_jax.spaces.nasbench_macro import NasBenchMacro
from hwnas_jax.tabular.base import Benchmark, Columns, chosen_set, make_benchmark

_DATA_SET = "cifar10"


def has_seeds(arrays: Mapping[str, np.ndarray]) -> bool:
    """Returns whether a file is of this format."""
    return "test_acc" in arrays


def read_macro(source: str, arrays: Mapping[str, np.ndarray], data_set: str | None) -> Benchmark:
    """Returns the benchmark; an accuracy is the mean over the seeds.

    Args:
      source: the file's name.
      arrays: what it holds.
      data_set: "cifar10", or None.

    Raises:
      UserError: for another data set, and for what is missing or cannot be.
    """
    name = chosen_set(source, data_set, (_DATA_SET,))
    space = NasBenchMacro(input_shape=(32, 32, 3), num_outputs=10)
    options = named(numbers(arrays, "ops", 2), texts(arrays, "op_names"))
    accuracy = numbers(arrays, "test_acc", 2)
    if not accuracy.size:
        raise UserError(f"test_acc is empty: {list(accuracy.shape)}")
    columns: Columns = {("test", None): accuracy.mean(axis=1)}
    return make_benchmark(f"{source}:{name}", space, encode_names(space, options), columns)
