"""The seven tasks of TransNAS-Bench-101, which the benchmark's cells and macro networks share.

A data set of this benchmark is a task with images of indoor scenes, and each task has one measure:

    class_object, class_scene, jigsaw    top1, accuracy in percent
    segmentsemantic                      mIoU, mean intersection over union in percent
    normal, autoencoder                  ssim, structural similarity from -1 to 1
    room_layout                          neg_loss, the loss with its sign changed

In a compact file every value is the best of all epochs. That of the test images is not the epoch
that the validation images would choose, so that it is a little optimistic.

References: Duan et al., "TransNAS-Bench-101: Improving Transferability and Generalizability of
Cross-Task Neural Architecture Search", CVPR 2021.

Legend: `N` networks.
"""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hwnas_jax.files.npz import numbers
from hwnas_jax.tabular.base import ACCURACY, SPLITS, Columns, Measure, chosen_set

MEASURES = {
    "top1": ACCURACY,
    "mIoU": Measure("mean_iou", 0, 100, percent=True),
    "ssim": Measure("ssim", -1, 1),
    "neg_loss": Measure("negative_loss", -math.inf, 0),
}
"""What is measured, by the name that the benchmark's files have for it."""

IMAGES, OBJECTS = (256, 256, 3), 75
"""The images of all tasks, and the classes of `class_object`."""

PREFIXES = dict(zip(("valid", "test"), SPLITS, strict=True))
_COLUMN = re.compile(rf"(?P<task>\w+)_(?P<split>valid|test)_(?P<measure>{'|'.join(MEASURES)})")


class Task(NamedTuple):
    """What a file says of one task.

    Attributes:
      name: of the task.
      measure: what is measured.
      columns: what each network reaches.
      seconds: by epochs of training, `float[N]`; empty where the file does not tell.
    """

    name: str
    measure: Measure
    columns: Columns
    seconds: dict[int | None, np.ndarray]


def has_tasks(arrays: Mapping[str, np.ndarray]) -> bool:
    """Returns whether a file holds results of such tasks."""
    return any(_COLUMN.fullmatch(name) for name in arrays)


def read_task(source: str, arrays: Mapping[str, np.ndarray], data_set: str | None) -> Task:
    """Returns one task of a `.npz` file.

    Args:
      source: the file's name.
      arrays: what it holds: `class_object_valid_top1`, `class_object_test_top1` (`float[N]`: task,
        split, measure) and so on, and `class_object_train_time_s`, seconds of the whole training.
      data_set: a task of the file; its first when left out.

    Raises:
      UserError: for a task that is not there, and for an array of another kind.
    """
    found = [match for name in arrays if (match := _COLUMN.fullmatch(name))]
    task = chosen_set(source, data_set, dict.fromkeys(match["task"] for match in found), "task")
    measure = next(match["measure"] for match in found if match["task"] == task)
    columns: Columns = {
        (PREFIXES[match["split"]], None): numbers(arrays, match.string, 1)
        for match in found
        if (match["task"], match["measure"]) == (task, measure)
    }
    time = f"{task}_train_time_s"
    seconds: dict[int | None, np.ndarray] = {}
    if time in arrays:
        seconds[None] = numbers(arrays, time, 1)
    return Task(task, MEASURES[measure], columns, seconds)
