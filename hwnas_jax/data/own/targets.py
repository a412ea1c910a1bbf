"""Raw labels or values as targets of a task.

Legend: `N` examples, `O` outputs, `H, W` height and width of the inputs.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from hwnas_jax.data.own.classes import few, number_classes
from hwnas_jax.data.own.dense_targets import (
    DENSE,
    of_pixels,
    pixel_classes,
    pixel_values,
    told_dense,
    value_names,
)
from hwnas_jax.errors import UserError

TaskName = Literal[
    "classification",
    "multi_label",
    "regression",
    "segmentation",
    "dense_regression",
    "autoencoding",
]
"""What targets are for."""

_MANY = 100
"""More different whole numbers than this are taken for values rather than for classes."""


class Targets(NamedTuple):
    """What is learned.

    Attributes:
      parts: targets by part: classes `int32[N]`, labels `bool[N, O]`, values `float32[N, O]`, or
        for each pixel a class `int32[N, H, W]` or values `float32[N, H, W, O]`.
      names: of the outputs.
      task: the task that they are for.
      notes: what a reader should know of how they were understood.
    """

    parts: dict[str, np.ndarray]
    names: tuple[str, ...]
    task: TaskName
    notes: tuple[str, ...] = ()


def make_targets(
    parts: Mapping[str, Any],
    size: tuple[int, int],
    *,
    names: Sequence[str] | None,
    task: TaskName | None,
    where: str,
) -> Targets:
    """Returns targets, and the task that they are for.

    Texts and whole numbers are classes, floats are values to predict. Two axes of zeros and ones
    are classes where every example has exactly one, and otherwise any number of labels each. With
    more axes there is a target for each pixel: whole numbers are classes, floats are values.

    Args:
      parts: raw targets by part; "train" is among them.
      size: height and width of the inputs; the height of sequences is one.
      names: of the classes or outputs, in order; None takes the labels themselves, or numbers.
      task: what they are for; None lets their type tell.
      where: begins messages.

    Raises:
      UserError: when they are no targets, or a class is in the test set alone.
    """
    plain = {part: _plain(raw, f"{where}: {part} targets") for part, raw in parts.items()}
    texts = {array.dtype.kind == "U" for array in plain.values()}
    if len(texts) > 1:
        kinds = ", ".join(f"{part} targets are {array.dtype}" for part, array in plain.items())
        raise UserError(f"{where}: {kinds}; all must be texts, or all numbers")
    widths = {array.shape[1:] for array in plain.values()}
    if len(widths) > 1:
        shapes = ", ".join(f"{part} targets are {list(a.shape)}" for part, a in plain.items())
        raise UserError(f"{where}: {shapes}; all must have the same number of outputs")
    given = None if names is None else tuple(str(name) for name in names)
    if given is not None and len(set(given)) < len(given):
        raise UserError(f"{where}: the names of outputs repeat: {few(given)}")
    if task in DENSE or (task is None and plain["train"].ndim > 2):
        return _of_pixels(plain, size, given, task, where)
    chosen = task or _told(plain, where)
    if chosen == "regression":
        return _values(plain, given, where, asked=task is not None)
    if chosen == "multi_label":
        return _labels(plain, given, where)
    return _classes(plain, given, where)


def _plain(raw: Any, what: str) -> np.ndarray:
    """Returns an array of texts with one or two axes, or of numbers with up to four."""
    try:
        array = np.asarray(raw)
    except ValueError as error:
        raise UserError(f"{what} are no array: {error}") from error
    if array.dtype.kind == "O" and array.ndim == 1 and all(isinstance(one, str) for one in array):
        array = array.astype(str)
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{what} are bytes that are no UTF-8 text: {error}") from error
    most = 2 if array.dtype.kind == "U" else 4
    if array.dtype.kind not in "biufU" or not 1 <= array.ndim <= most or 0 in array.shape:
        raise UserError(
            f"{what} must be class names, whole numbers or floats, [N] or [N, outputs], or numbers "
            f"for each pixel, [N, H, W] or [N, H, W, values]; got {array.dtype}{list(array.shape)}"
        )
    if array.dtype.kind == "U":
        empty = np.flatnonzero(np.char.str_len(np.char.strip(array)).reshape(len(array), -1) == 0)
        if len(empty):
            raise UserError(f"{what}: example {empty[0]} (counted from 0) has an empty label")
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _of_pixels(
    plain: Mapping[str, np.ndarray],
    size: tuple[int, int],
    names: tuple[str, ...] | None,
    task: TaskName | None,
    where: str,
) -> Targets:
    if any(array.dtype.kind == "U" for array in plain.values()):
        raise UserError(f"{where}: task {task} needs numbers, the targets are texts")
    chosen = task or told_dense(plain)
    parts = of_pixels(plain, size, chosen, where)
    if chosen == "segmentation":
        numbers, own, notes = pixel_classes(parts, names, where)
        return Targets(numbers, own, "segmentation", notes)
    shares = chosen == "autoencoding"
    values, own = pixel_values(parts, shares=shares)
    named = _fitting(names, own, where)
    return Targets(values, named, "autoencoding" if shares else "dense_regression")


def _told(parts: Mapping[str, np.ndarray], where: str) -> TaskName:
    train = parts["train"]
    kind, shown = train.dtype.kind, f"{train.dtype}{list(train.shape)}"
    if train.ndim == 1:
        floats = any(array.dtype.kind == "f" for array in parts.values())
        return "regression" if floats else "classification"
    if kind == "U":
        raise UserError(f"{where}: targets are {shown}: a class is one text for each example")
    if all(_zeros_and_ones(array) for array in parts.values()):
        return "classification" if _one_each(parts) else "multi_label"
    if kind == "f":
        return "regression"
    raise UserError(
        f"{where}: targets are {shown}: classes are one number for each example, labels zeros and "
        "ones; say task regression if they are values"
    )


def _zeros_and_ones(array: np.ndarray) -> bool:
    return array.dtype.kind == "b" or bool(np.isin(array, (0, 1)).all())


def _one_each(parts: Mapping[str, np.ndarray]) -> bool:
    return all(
        array.ndim == 2 and _zeros_and_ones(array) and (array.sum(axis=1) == 1).all()
        for array in parts.values()
    )


def _values(
    parts: Mapping[str, np.ndarray], names: tuple[str, ...] | None, where: str, *, asked: bool
) -> Targets:
    train = parts["train"]
    if train.dtype.kind == "U":
        raise UserError(f"{where}: task regression needs numbers, the targets are texts")
    outputs = 1 if train.ndim == 1 else train.shape[1]
    own = value_names(outputs)
    notes = []
    whole = train.ndim == 1 and bool((train == np.round(train)).all())
    if whole and not asked and len(np.unique(train)) <= min(_MANY, len(train) // 2):
        notes.append(
            "the targets are floats and are learned as values; if they are classes, store them as "
            "integers, or say task classification"
        )
    with np.errstate(over="ignore"):  # what is too large is refused as not finite
        columns = {p: a.reshape(len(a), outputs).astype(np.float32) for p, a in parts.items()}
    return Targets(columns, _fitting(names, own, where), "regression", tuple(notes))


def _labels(parts: Mapping[str, np.ndarray], names: tuple[str, ...] | None, where: str) -> Targets:
    train = parts["train"]
    if train.ndim != 2 or not all(_zeros_and_ones(array) for array in parts.values()):
        raise UserError(
            f"{where}: task multi_label needs targets [N, labels] of zeros and ones, got "
            f"{train.dtype}{list(train.shape)}"
        )
    own = tuple(str(number) for number in range(train.shape[1]))
    columns = {part: array.astype(bool) for part, array in parts.items()}
    names = _fitting(names, own, where)
    seen = np.atleast_1d(columns["train"].any(axis=0))
    never = [name for name, any_has in zip(names, seen, strict=True) if not any_has]
    notes = (f"no train example has the label {few(never)}",) if never else ()
    return Targets(columns, names, "multi_label", notes)


def _fitting(names: tuple[str, ...] | None, own: tuple[str, ...], where: str) -> tuple[str, ...]:
    if names is not None and len(names) != len(own):
        raise UserError(f"{where}: {len(names)} names are given for {len(own)} outputs")
    return names or own


def _classes(parts: Mapping[str, np.ndarray], names: tuple[str, ...] | None, where: str) -> Targets:
    if _one_each(parts):
        names = _fitting(names, tuple(map(str, range(parts["train"].shape[1]))), where)
        parts = {part: array.argmax(axis=1) for part, array in parts.items()}
    numbers, own, notes = number_classes(parts, names, where)
    return Targets(numbers, own, "classification", notes)
