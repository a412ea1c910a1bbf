"""Raw targets that belong to the pixels of images, or to the steps of sequences.

Legend: `N` examples, `H, W` height and width, `O` values of a pixel.
"""

from collections.abc import Mapping

import numpy as np

from hwnas_jax.data.own.classes import few, plural
from hwnas_jax.errors import UserError

DENSE = ("segmentation", "dense_regression", "autoencoding")
"""The tasks with a target for each pixel."""
UNLABELLED = -1
"""Stands for a pixel whose class is not known, and which no network is judged by."""
_VOID = 255
"""What such pixels are called in published masks (PASCAL VOC, Cityscapes)."""


def told_dense(parts: Mapping[str, np.ndarray]) -> str:
    """Returns the task that targets `[N, H, W]` or `[N, H, W, O]` tell by their type.

    Whole numbers are the classes of pixels, floats and whole numbers with several channels are
    values.
    """
    whole = all(array.dtype.kind in "biu" for array in parts.values())
    single = all(array.ndim == 3 or array.shape[3] == 1 for array in parts.values())
    return "segmentation" if whole and single else "dense_regression"


def of_pixels(
    parts: Mapping[str, np.ndarray], size: tuple[int, int], task: str, where: str
) -> dict[str, np.ndarray]:
    """Returns targets as `[N, H, W, O]`, a target for each pixel.

    Args:
      parts: `[N, H, W]`, `[N, H, W, O]`, or of sequences `[N, L]` and `[N, L, O]`, by part.
      size: height and width of the inputs; the height of sequences is one.
      task: what they are for.
      where: begins messages.

    Raises:
      UserError: when there are more or fewer targets than pixels.
    """
    found = {}
    for part, array in parts.items():
        whole = array[:, None] if size[0] == 1 and array.shape[1:2] == size[1:] else array
        if whole.shape[1:3] != size or whole.ndim not in (3, 4):
            raise UserError(
                f"{where}: task {task} needs a target for each pixel of the {size[0]}x{size[1]} "
                f"inputs, [N, {size[0]}, {size[1]}] or [N, {size[0]}, {size[1]}, values]; "
                f"{part} targets are {array.dtype}{list(array.shape)}"
            )
        found[part] = whole if whole.ndim == 4 else whole[..., None]
    return found


def pixel_classes(
    parts: Mapping[str, np.ndarray], names: tuple[str, ...] | None, where: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...], tuple[str, ...]]:
    """Returns the classes of pixels `int32[N, H, W]`, their names, and notes on them.

    There is a class for every number in the train part, in order. Numbers below zero say that a
    pixel has no label and become `UNLABELLED`. So does 255 beside numbers that count 0, 1, 2, ...,
    unless there are names for one class more.

    Args:
      parts: `[N, H, W, O]` by part; "train" is among them.
      names: of the classes, in order.
      where: begins messages.

    Raises:
      UserError: for more than one value a pixel or values that are no whole numbers, when a class
        is in another part than "train" alone, or there are not two classes.
    """
    masks = {part: _whole(array, f"{where}: {part} targets") for part, array in parts.items()}
    labels: np.ndarray = np.unique(masks["train"])
    labels, notes = labels[labels >= 0], []
    if _void_is_unlabelled(labels, names):
        labels = labels[labels != _VOID]
        masks = {part: np.where(mask == _VOID, UNLABELLED, mask) for part, mask in masks.items()}
        notes.append("pixels of the number 255 have no label, and no network is judged by them")
    if len(labels) < 2:
        raise UserError(
            f"{where}: the pixels of the train targets have "
            f"{plural(len(labels), 'different number')}; segmentation tells at least two classes "
            "apart"
        )
    if names is not None and len(names) != len(labels):
        raise UserError(
            f"{where}: {len(names)} class names are given, but the pixels of the train targets "
            f"have {len(labels)} different numbers: {few(labels.tolist())}"
        )
    found = {}
    for part, mask in masks.items():
        extra = np.setdiff1d(mask[mask >= 0], labels)
        if len(extra):
            raise UserError(
                f"{where}: pixels of the {part} targets have the number {extra[0]}, which no train "
                "target has"
            )
        numbers = np.searchsorted(labels, mask)
        found[part] = np.where(mask < 0, UNLABELLED, numbers).astype(np.int32)
    if labels[-1] != len(labels) - 1:
        notes.append(f"the classes of pixels are the numbers {few(labels.tolist())}, in order")
    return found, names or tuple(map(str, labels.tolist())), tuple(notes)


def pixel_values(
    parts: Mapping[str, np.ndarray], *, shares: bool
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns the values of pixels `float32[N, H, W, O]`, and names for them.

    Args:
      parts: `[N, H, W, O]` by part; "train" is among them.
      shares: whether whole numbers from 0 to 255 become shares of 255, as in pictures.
    """
    outputs = parts["train"].shape[3]
    whole = all(array.dtype.kind in "biu" for array in parts.values())
    scale = np.float32(255 if shares and whole else 1)
    with np.errstate(over="ignore"):  # what is too large is refused as not finite
        values = {part: array.astype(np.float32) / scale for part, array in parts.items()}
    return values, value_names(outputs)


def value_names(outputs: int) -> tuple[str, ...]:
    """Returns names for values that the user has given none."""
    return ("value",) if outputs == 1 else tuple(f"value {n}" for n in range(outputs))


def _whole(array: np.ndarray, what: str) -> np.ndarray:
    if array.shape[3] != 1:
        raise UserError(
            f"{what} have {array.shape[3]} values for each pixel; a class is one whole number"
        )
    array = array[..., 0]
    if array.dtype.kind == "f" and (array != np.round(array)).any():
        raise UserError(f"{what} must be whole numbers to be the classes of pixels")
    return array.astype(np.int64)


def _void_is_unlabelled(labels: np.ndarray, names: tuple[str, ...] | None) -> bool:
    """Returns whether 255 is no class, since the other numbers count from zero without it."""
    others = labels[labels != _VOID]
    counted = len(others) >= 2 and others[-1] == len(others) - 1
    return bool(_VOID in labels and counted and (names is None or len(names) == len(others)))
