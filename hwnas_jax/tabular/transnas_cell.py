"""TransNAS-Bench-101: every cell trained on seven tasks.

The file is a `.npz` of plain arrays, `N` cells:

    ops         uint8[N, 6], the operation of each edge, indices into op_names
    op_names    the operations' names

and beside them the results that `hwnas_jax.tabular.transnas_tasks` describes.

References: Duan et al., "TransNAS-Bench-101: Improving Transferability and Generalizability of
Cross-Task Neural Architecture Search", CVPR 2021.
"""

from collections.abc import Mapping

import numpy as np

from hwnas_jax.cost.files.readers.build_table import encode_names
from hwnas_jax.files.npz import named, numbers, texts
from hwnas_jax.spaces.transnas_cell import TransNASCell
from hwnas_jax.tabular.base import Benchmark, make_benchmark
from hwnas_jax.tabular.transnas_tasks import IMAGES, OBJECTS, read_task


def cell_networks() -> TransNASCell:
    """Returns the space as it is trained on `class_object`; the other tasks have the same cells."""
    return TransNASCell(input_shape=IMAGES, num_outputs=OBJECTS)


def read_cells(source: str, arrays: Mapping[str, np.ndarray], data_set: str | None) -> Benchmark:
    """Returns the benchmark of one task.

    Args:
      source: the file's name.
      arrays: what it holds.
      data_set: a task of the file; its first when left out.

    Raises:
      UserError: for a task that is not there, and for what is missing or cannot be.
    """
    task, space = read_task(source, arrays, data_set), cell_networks()
    options = named(numbers(arrays, "ops", 2), texts(arrays, "op_names"))
    return make_benchmark(
        f"{source}:{task.name}", space, encode_names(space, options), task.columns, task.measure,
        seconds=task.seconds,
    )  # fmt: skip
