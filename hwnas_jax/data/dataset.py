"""What every data source returns: a train and a test set in memory, checked once.

Legend: `N` examples, `H, W` image height and width, `L` length of a sequence, `C` channels.

A sequence is an image one pixel high. Spaces, tasks and the search know images alone.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import cast

import numpy as np

from hwnas_jax.data.together import Kind, TargetPart, pack
from hwnas_jax.errors import UserError

_CHUNK = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A train and a test set of inputs with their targets.

    Inputs are images `uint8[N, H, W, C]`, or real values: `float32[N, H, W, C]` or, for sequences,
    `float32[N, L, C]`, which are kept as `float32[N, 1, L, C]`. Which targets are allowed depends
    on the task that is learned from them: numbers of classes `int32[N]`, labels `bool[N, O]`,
    values `float32[N, O]`, so much for each pixel `[N, H, W, ...]`, or what a user's own task asks
    for.

    Attributes:
      name: what messages call it.
      train_inputs: `[N, ...]`.
      train_targets: `[N, ...]`.
      test_inputs: `[N', ...]`, of the type and shape of the train inputs.
      test_targets: `[N', ...]`, of the type and shape of the train targets.
      output_names: the classes, labels or values that a network gives an output for, in order.
      task: the name of the task that the data are made for.
      notes: what a reader should know of how the data were read, a line each.
      movable: whether an image may be shifted and mirrored, since its target says nothing of where
        things are; false by itself where targets belong to pixels, and for sequences.
      parts: of the targets `float32[N, T]` of several tasks, what the columns are; empty where one
        task is learned.

    Raises:
      UserError: when types or shapes do not fit together, a part is empty or a value is not finite.
    """

    name: str
    train_inputs: np.ndarray
    train_targets: np.ndarray
    test_inputs: np.ndarray
    test_targets: np.ndarray
    output_names: tuple[str, ...]
    task: str = "classification"
    notes: tuple[str, ...] = ()
    movable: bool = True
    parts: tuple[TargetPart, ...] = ()

    def __post_init__(self):
        if not self.output_names:
            raise UserError(f"data set {self.name}: output_names is empty")
        for part in ("train", "test"):
            inputs, targets = getattr(self, f"{part}_inputs"), getattr(self, f"{part}_targets")
            where = f"data set {self.name}: {part}"
            _check_inputs(f"{where} inputs", inputs)
            _check_targets(f"{where} targets", targets)
            if len(inputs) != len(targets):
                raise UserError(f"{where} has {len(inputs)} inputs but {len(targets)} targets")
            if inputs.ndim == 3:
                object.__setattr__(self, f"{part}_inputs", inputs[:, None])
        for kind in ("inputs", "targets"):
            train, test = getattr(self, f"train_{kind}"), getattr(self, f"test_{kind}")
            if (train.dtype, train.shape[1:]) != (test.dtype, test.shape[1:]):
                raise UserError(
                    f"data set {self.name}: a train example has {kind} {_shown(train[0])}, "
                    f"a test example {_shown(test[0])}"
                )
        of_pixels = self.train_targets.shape[1:3] == self.input_shape[:2]
        movable = self.movable and not of_pixels and not self.is_sequence
        object.__setattr__(self, "movable", movable)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """`(H, W, C)`; of sequences `(1, L, C)`."""
        return self.train_inputs.shape[1:]

    @property
    def is_sequence(self) -> bool:
        """Whether the inputs are sequences."""
        return self.input_shape[0] == 1

    @property
    def num_outputs(self) -> int:
        """How many outputs a network for this data set has."""
        return len(self.output_names)

    @property
    def mean(self) -> np.ndarray:
        """`float32[C]`, mean of the train inputs; of `uint8` inputs, after scaling to 0..1."""
        return self._moments[0]

    @property
    def std(self) -> np.ndarray:
        """`float32[C]`, their standard deviation; one for a channel that never changes."""
        return self._moments[1]

    @functools.cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        moments = _byte_moments if self.train_inputs.dtype == np.uint8 else float_moments
        mean, std = moments(self.train_inputs)
        return mean.astype(np.float32), std.astype(np.float32)


def together(name: str, sets: Mapping[str, Dataset]) -> Dataset:
    """Returns one data set for several tasks, which are then learned at once by one network.

    Args:
      name: what messages call it.
      sets: data sets of the same inputs, each with the targets of one task, by a name for the task.

    Raises:
      UserError: for fewer than two sets, for sets whose inputs differ, and for a set that is for
        several tasks already.
    """
    if len(sets) < 2:
        raise UserError(f"data set {name}: several tasks are at least two, got {len(sets)}")
    (first, one), *others = sets.items()
    for label, other in others:
        for part in ("train_inputs", "test_inputs"):
            if not np.array_equal(getattr(one, part), getattr(other, part)):
                raise UserError(
                    f"data set {name}: {first} and {label} must have the same inputs, in the same "
                    f"order; their {part.replace('_', ' ')} differ"
                )
    for label, each in sets.items():
        if each.parts:
            raise UserError(f"data set {name}: {label} is for several tasks already")
    parts = tuple(
        TargetPart(
            label, each.task, each.train_targets.shape[1:],
            cast(Kind, str(each.train_targets.dtype)), each.output_names,
        )
        for label, each in sets.items()
    )  # fmt: skip
    return Dataset(
        name=name,
        train_inputs=one.train_inputs,
        train_targets=pack([each.train_targets for each in sets.values()]),
        test_inputs=one.test_inputs,
        test_targets=pack([each.test_targets for each in sets.values()]),
        output_names=tuple(f"{part.name}: {out}" for part in parts for out in part.output_names),
        task="several",
        notes=tuple(dict.fromkeys(note for each in sets.values() for note in each.notes)),
        movable=all(each.movable for each in sets.values()),
        parts=parts,
    )


def _shown(array: np.ndarray) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _check_inputs(where: str, inputs: np.ndarray) -> None:
    ranks = {"uint8": (4,), "float32": (3, 4)}.get(str(inputs.dtype), ())
    if inputs.ndim not in ranks:
        raise UserError(
            f"{where} must be uint8[N, H, W, C], float32[N, H, W, C] or float32[N, L, C], "
            f"got {_shown(inputs)}"
        )
    if inputs.size == 0:
        raise UserError(f"{where} are empty: {_shown(inputs)}")
    _check_finite(where, inputs)


def _check_targets(where: str, targets: np.ndarray) -> None:
    # JAX would round 64-bit numbers to 32 bits without a word.
    if targets.dtype.kind not in "biuf" or targets.dtype.itemsize > 4 or targets.ndim == 0:
        raise UserError(
            f"{where} must be bool, float32 or integers of at most 32 bits, one or more for each "
            f"example, got {_shown(targets)}"
        )
    _check_finite(where, targets)


def _check_finite(where: str, array: np.ndarray) -> None:
    if array.dtype.kind != "f":
        return
    for start in range(0, len(array), _CHUNK):
        finite = np.isfinite(array[start : start + _CHUNK])
        if not finite.all():
            row = start + int(np.argwhere(~finite)[0, 0])
            raise UserError(f"{where} must be finite; example {row} (counted from 0) is not")


def _byte_moments(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts the 256 values of every channel: exact, and without a copy as floats."""
    channels = inputs.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(inputs), _CHUNK):
        chunk = inputs[start : start + _CHUNK]
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255.0
    total = counts.sum(axis=1)
    mean = counts @ values / total
    variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / total
    constant = (counts > 0).sum(axis=1) == 1
    return mean, np.where(constant, 1.0, np.sqrt(variance))


def float_moments(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of each channel, `float64[C]`, of `float[..., C]`.

    A channel that never changes has deviation one. Values are added up in float64, then their
    squared distances from the mean.
    """
    axes = tuple(range(inputs.ndim - 1))
    chunks = [inputs[start : start + _CHUNK] for start in range(0, len(inputs), _CHUNK)]
    count = inputs.size // inputs.shape[-1]
    mean = sum(chunk.sum(axes, np.float64) for chunk in chunks) / count
    variance = sum(np.square(chunk - mean).sum(axes) for chunk in chunks) / count
    constant = inputs.min(axes) == inputs.max(axes)
    return mean, np.where(constant, 1.0, np.sqrt(variance))
