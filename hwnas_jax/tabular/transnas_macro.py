"""TransNAS-Bench-101: every network of four to six modules trained on seven tasks.

The file is a `.npz` of plain arrays, `N` networks:

    modules    texts[N], a digit for each module: 1 keeps the shape, 2 doubles the channels, 3
               halves the image, 4 does both

and beside them the results that `hwnas_jax.tabular.transnas_tasks` describes.

References: Duan et al., "TransNAS-Bench-101: Improving Transferability and Generalizability of
Cross-Task Neural Architecture Search", CVPR 2021.
"""

from collections.abc import Mapping

import numpy as np

from hwnas_jax.cost.files.readers.build_table import encode_texts
from hwnas_jax.files.npz import texts
from hwnas_jax.spaces.transnas_macro import TransNASMacro
from hwnas_jax.tabular.base import Benchmark, make_benchmark
from hwnas_jax.tabular.transnas_tasks import IMAGES, OBJECTS, read_task


def macro_networks() -> TransNASMacro:
    """Returns the space as it is trained on `class_object`; other tasks have the same modules."""
    return TransNASMacro(input_shape=IMAGES, num_outputs=OBJECTS)


def has_modules(arrays: Mapping[str, np.ndarray]) -> bool:
    """Returns whether a file is of this format."""
    return "modules" in arrays


def read_modules(source: str, arrays: Mapping[str, np.ndarray], data_set: str | None) -> Benchmark:
    """Returns the benchmark of one task.

    Args:
      source: the file's name.
      arrays: what it holds.
      data_set: a task of the file; its first when left out.

    Raises:
      UserError: for a task that is not there, and for what is missing or cannot be.
    """
    task, space = read_task(source, arrays, data_set), macro_networks()
    networks = [f"{space.channels}-{digits}-basic" for digits in texts(arrays, "modules")]
    return make_benchmark(
        f"{source}:{task.name}", space, encode_texts(space, networks), task.columns, task.measure,
        seconds=task.seconds,
    )  # fmt: skip
