"""TransNAS-Bench-101: every cell trained on seven tasks with images of indoor scenes.

The file is a `.npz` of plain arrays, `N` cells:

    ops                        uint8[N, 6], the operation of each edge, indices into op_names
    op_names                   the operations' names
    class_object_valid_top1    float[N]: task, split, measure
    class_object_test_top1     likewise, and so on for every task

A data set of this benchmark is a task, and each task has one measure:

    class_object, class_scene, jigsaw    top1, accuracy in percent
    segmentsemantic                      mIoU, mean intersection over union in percent
    normal, autoencoder                  ssim, structural similarity from -1 to 1
    room_layout                          neg_loss, the loss with its sign changed

References: Duan et al., "TransNAS-Bench-101: Improving Transferability and Generalizability of
Cross-Task Neural Architecture Search", CVPR 2021.
"""

import math
import re
from collections.abc import Mapping

import numpy as np

from hwnas_jax.cost.files.readers.build_table import encode_names
from hwnas_jax.errors import choose
from hwnas_jax.files.npz import named, numbers, texts
from hwnas_jax.nn.cell_operations import CellOperation
from hwnas_jax.spaces.core.four_nodes import FourNodes
from hwnas_jax.spaces.transnas_cell import CELL_OPERATIONS, TransNASCell
from hwnas_jax.tabular.base import ACCURACY, Benchmark, Columns, Measure, make_benchmark

_MEASURES = {
    "top1": ACCURACY,
    "mIoU": Measure("mean_iou", 0, 100, percent=True),
    "ssim": Measure("ssim", -1, 1),
    "neg_loss": Measure("negative_loss", -math.inf, 0),
}
_COLUMN = re.compile(rf"(?P<task>\w+)_(?P<split>valid|test)_(?P<measure>{'|'.join(_MEASURES)})")


class Cells(FourNodes):
    """The decisions of these cells, without the images and outputs of a task."""

    cell_operations: tuple[CellOperation, ...] = CELL_OPERATIONS
    name = TransNASCell.name

    def __init__(self):
        self._decide()


def has_tasks(arrays: Mapping[str, np.ndarray]) -> bool:
    """Returns whether a file is of this format."""
    return any(_COLUMN.fullmatch(name) for name in arrays)


def read_tasks(source: str, arrays: Mapping[str, np.ndarray], data_set: str | None) -> Benchmark:
    """Returns the benchmark of one task.

    Args:
      source: the file's name.
      arrays: what it holds.
      data_set: a task of the file; its first when left out.

    Raises:
      UserError: for a task that is not there, and for what is missing or cannot be.
    """
    found = [match for name in arrays if (match := _COLUMN.fullmatch(name))]
    tasks = dict.fromkeys(match["task"] for match in found)
    task = next(iter(tasks)) if data_set is None else choose(data_set, tasks, f"task of {source}")
    space = Cells()
    options = named(numbers(arrays, "ops", 2), texts(arrays, "op_names"))
    measure = next(match["measure"] for match in found if match["task"] == task)
    columns: Columns = {}
    for match in found:
        if (match["task"], match["measure"]) == (task, measure):
            split = {"valid": "validation", "test": "test"}[match["split"]]
            columns[split, None] = numbers(arrays, match.string, 1)
    architectures = encode_names(space, options)
    return make_benchmark(f"{source}:{task}", space, architectures, columns, _MEASURES[measure])
