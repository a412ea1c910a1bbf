"""Labels of any kind as numbers of classes, counted from zero.

Legend: `N` examples.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwnas_jax.errors import UserError, shown

_SHOWN = 5
"""Most names that a message lists."""


def number_classes(
    parts: Mapping[str, np.ndarray], names: tuple[str, ...] | None, where: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...], tuple[str, ...]]:
    """Returns the classes of examples `int32[N]` by part, their names, and notes on them.

    Without names there is a class for every label that a train example has, in order. With names
    there is one for each name; labels are then names themselves, or numbers from zero or one.

    Args:
      parts: texts or numbers `[N]` by part; "train" is among them.
      names: of the classes, in order.
      where: begins messages.

    Raises:
      UserError: when labels are no classes, a class is in another part than "train" alone, or
        there are not two classes.
    """
    notes: list[str] = []
    parts = {part: _class_labels(array, f"{where}: {part}") for part, array in parts.items()}
    known: np.ndarray = np.unique(parts["train"])
    if names is not None:
        known, first = _named(parts, names, where)
        notes += [f"class numbers begin at {first}, which stands for the first name"] * bool(first)
    elif known.dtype.kind != "U":
        notes += _about_numbers(known)
    for part, array in parts.items():
        extra = array[~np.isin(array, known)]
        if len(extra):
            count = int((array == extra[0]).sum())
            raise UserError(
                f"{where}: the class {_shown(extra[0])} has {plural(count, f'{part} example')} "
                "but no train example"
            )
    own = names or tuple(str(label) for label in known)
    order = np.argsort(known, kind="stable")
    found = {
        part: order[np.searchsorted(known, array, sorter=order)].astype(np.int32)
        for part, array in parts.items()
    }
    counts = {part: np.bincount(array, minlength=len(own)) for part, array in found.items()}
    _check_counts(counts["train"], own, where)
    for part, numbers in counts.items():
        absent = [name for name, number in zip(own, numbers, strict=True) if number == 0]
        if absent:
            notes.append(f"no {part} example is of the class {few(absent)}")
    return found, own, tuple(notes)


def _class_labels(array: np.ndarray, where: str) -> np.ndarray:
    if array.ndim != 1:
        raise UserError(
            f"{where} targets must be one class for each example, got "
            f"{array.dtype}{list(array.shape)}"
        )
    if array.dtype.kind != "f":
        return array.astype(np.int64) if array.dtype.kind in "bi" else array
    wrong = np.flatnonzero(array != np.round(array))
    if len(wrong):
        raise UserError(
            f"{where} targets must be whole numbers to be classes; that of example {wrong[0]} "
            f"(counted from 0) is {array[wrong[0]]}"
        )
    return array.astype(np.int64)


def _named(
    parts: Mapping[str, np.ndarray], names: tuple[str, ...], where: str
) -> tuple[np.ndarray, int]:
    """Returns the label that stands for each name, and the number that the first stands for."""
    train = parts["train"]
    if train.dtype.kind == "U":
        unknown = np.setdiff1d(train, names)
        if len(unknown):
            raise UserError(f"{where}: the label {_shown(unknown[0])} is none of {few(names)}")
        return np.array(names), 0
    lowest = min(int(array.min()) for array in parts.values())
    highest = max(int(array.max()) for array in parts.values())
    first = 1 if lowest >= 1 and highest == len(names) else 0
    if lowest < first or highest >= first + len(names):
        raise UserError(
            f"{where}: {len(names)} class names are given, so class numbers lie in "
            f"0..{len(names) - 1}; they run from {lowest} to {highest}"
        )
    return np.arange(first, first + len(names)), first


def _about_numbers(known: np.ndarray) -> list[str]:
    """Returns notes on class numbers that do not run from zero without a gap."""
    first, last = int(known[0]), int(known[-1])
    said = [f"class numbers begin at {first}"] if first != 0 else []
    missing = last - first + 1 - len(known)
    if missing:
        said.append(f"{plural(missing, 'number')} between {first} and {last} have no train example")
    if said:
        said[-1] += "; there is an output for each number that occurs"
    return ["; ".join(said)] if said else []


def _check_counts(counts: np.ndarray, names: tuple[str, ...], where: str) -> None:
    seen = np.count_nonzero(counts)
    if seen < 2:
        raise UserError(
            f"{where}: all {counts.sum()} train examples are of the class "
            f"{_shown(names[int(counts.argmax())])}; there is nothing to tell apart"
        )
    if seen == counts.sum() > 2:
        raise UserError(
            f"{where}: each of the {seen} train examples has a class of its own; values that are "
            "to be predicted are floats (or say task regression)"
        )


def _shown(label: Any) -> str:
    return shown(str(label))


def few(names: Sequence[Any]) -> str:
    """Returns the first of some names as text, and how many more there are."""
    shown = ", ".join(_shown(name) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def plural(count: int, what: str) -> str:
    """Returns a number of things as text, such as `2 files`."""
    return f"{count} {what}{'s' if count != 1 else ''}"
