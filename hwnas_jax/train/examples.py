"""A few test examples with what a network says of them, kept for the report.

Legend: `N` test examples, `E` kept ones, `H, W` positions, `C` channels, `O` outputs.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import Array, read_npz, write_npz
from hwnas_jax.tasks.base import Task

FIRST, WORST = 6, 2
"""How many examples are kept from the beginning of the test data, and of those with the largest
loss."""

_POSITIONS, _LONGEST = 160, 2000
"""The most positions kept along the side of an image, and of a sequence; of more, every second or
third or further one is kept."""
_LARGEST = 1e30
"""Larger numbers cannot be drawn."""
_CHANNELS = 8
_PAIRS = 1000
_AT_ONCE = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Some of the test examples: first the first ones, then those of the largest loss.

    Attributes:
      numbers: `int[E]`, their numbers in the test data, counted from 0.
      worst: `bool[E]`, which of them have the largest loss of all.
      inputs: `[E, H, W, C]`, or `[E, L, C]` of sequences.
      targets: `[E, ...]`, what is true of them.
      predicted: of the type and shape of the targets, what the network says.
      true_values: `float32[M, O]`, the targets of the first test examples; only of real values for
        whole examples, else None.
      said_values: `float32[M, O]`, what the network says of these.
    """

    numbers: np.ndarray
    worst: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray
    predicted: np.ndarray
    true_values: np.ndarray | None = None
    said_values: np.ndarray | None = None

    @property
    def kind(self) -> str:
        """What is predicted: "class", "labels", "values", "class map" or "value map".

        It is "" for targets of another form, which cannot be drawn.
        """
        whole, rank = np.issubdtype(self.targets.dtype, np.floating), self.targets.ndim
        if self.predicted.dtype == bool and rank == 2:
            return "labels"
        return {(False, 1): "class", (True, 2): "values", (False, 3): "class map",
                (True, 4): "value map"}.get((bool(whole), rank), "")  # fmt: skip


def take_examples(
    task: Task, inputs: np.ndarray, outputs: jax.Array, targets: np.ndarray
) -> Examples | None:
    """Returns the examples that are kept of a trained network.

    Args:
      task: says what the outputs mean, and the loss of each example.
      inputs: `[N, ...]`, of the test data.
      outputs: `float32[N, ...]`, of the network.
      targets: `[N, ...]`.

    Returns:
      None where the task does not say what outputs mean, or outputs are not finite.
    """
    if task.predicted(outputs[:1]) is None or not bool(jnp.isfinite(outputs).all()):
        return None

    @jax.jit
    def losses(outputs, targets):
        def one(pair):
            return task.loss(pair[0][None], pair[1][None])

        return jax.lax.map(one, (outputs, targets), batch_size=_AT_ONCE)

    order = np.argsort(-np.asarray(losses(outputs, targets)), kind="stable")[:WORST]
    first = np.arange(min(FIRST, len(inputs)))
    numbers = np.concatenate([first, np.sort(order[~np.isin(order, first)])])
    predicted = np.asarray(task.predicted(outputs[numbers]))
    pairs: dict[str, Any] = {}
    if predicted.ndim == 2 and predicted.dtype.kind == "f":
        said = np.asarray(task.predicted(outputs[:_PAIRS]))
        pairs = {"true_values": targets[:_PAIRS, :_CHANNELS], "said_values": said[:, :_CHANNELS]}
    steps = _steps(inputs.shape[1:-1])
    return Examples(
        numbers.astype(np.int32),
        np.isin(numbers, order),
        _thinned(inputs[numbers], steps),
        _thinned(targets[numbers], steps) if task.dense else targets[numbers],
        _thinned(predicted, steps) if task.dense else predicted,
        **pairs,
    )


def _steps(positions: tuple[int, ...]) -> tuple[int, ...]:
    """Returns for each axis of an input how far apart the positions are that are kept."""
    most = _POSITIONS if min(positions) > 1 and len(positions) > 1 else _LONGEST
    return tuple(-(-size // most) for size in positions)


def _thinned(array: np.ndarray, steps: tuple[int, ...]) -> np.ndarray:
    """Returns every so many-th position, and the first channels."""
    kept = array[(slice(None), *(slice(None, None, step) for step in steps))]
    return kept[..., :_CHANNELS] if kept.ndim > len(steps) + 1 else kept


def _path(folder: Path, label: str, number: int) -> Path:
    task = f".{number + 1}" if number else ""
    return Path(folder) / f"examples_{label}{task}.npz"


def keep_examples(folder: Path, label: str, *examples: Examples | None) -> None:
    """Writes the examples of a network into a run folder.

    Args:
      folder: the run folder.
      label: of the network.
      *examples: for each task in its order, those that are kept; of None nothing is written.
    """
    for number, kept in enumerate(examples):
        arrays = {
            field.name: value
            for field in dataclasses.fields(Examples)
            if (value := getattr(kept, field.name, None)) is not None
        }
        if arrays:
            write_npz(_path(folder, label, number), arrays)


def load_examples(folder: Path, label: str, number: int = 0) -> Examples | None:
    """Returns the examples of a network by its label; None where none were kept.

    Args:
      folder: the run folder.
      label: of the network.
      number: of the task, where there are several.

    Raises:
      UserError: when the file is damaged.
    """
    path = _path(folder, label, number)
    if not path.exists():
        return None
    known = {
        "numbers": Array("whole", ("E",), least=0),
        "worst": Array("bool", ("E",)),
        "true_values": Array("float", ("M", "O"), optional=True),
        "said_values": Array("float", ("M", "O"), optional=True),
    }
    try:
        arrays = read_npz(path, known, closed=False)
        _check(arrays)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return Examples(**arrays)


def _check(arrays: dict[str, np.ndarray]) -> None:
    """Raises UserError for examples that do not belong together, or could not be drawn."""
    fields = {field.name for field in dataclasses.fields(Examples)}
    strange = sorted(arrays.keys() - fields)
    lacking = sorted({"inputs", "targets", "predicted"} - arrays.keys())
    if strange or lacking or ("true_values" in arrays) != ("said_values" in arrays):
        raise UserError(
            f"it must hold {', '.join(sorted(fields))}; true_values and said_values may both be "
            f"absent. It lacks {', '.join(lacking) or 'none'}, and has "
            f"{', '.join(strange) or 'none'} besides"
        )
    inputs, targets, said = (arrays[name] for name in ("inputs", "targets", "predicted"))
    count = len(arrays["numbers"])
    fine = (
        inputs.ndim in (3, 4)
        and inputs.dtype.kind in "fiu"
        and targets.ndim in (1, 2, 3, 4)
        and inputs.size > 0
        and targets.size > 0
        and 0 < count <= FIRST + WORST
        and max(inputs.shape[1:-1]) <= _LONGEST
        and targets.shape == said.shape
        and len(inputs) == len(targets) == count
        and (targets.ndim < 3 or targets.shape[1:3] == inputs.shape[1:3])
    )
    kinds = {array.dtype.kind for array in (inputs, targets, said)}
    if not fine or not kinds <= set("fiub"):
        raise UserError(
            f"its inputs are {inputs.dtype}{list(inputs.shape)}, targets "
            f"{targets.dtype}{list(targets.shape)} and predicted {said.dtype}{list(said.shape)}, "
            f"which are no {count} examples of one task, of which {FIRST + WORST} are the most"
        )
    if not arrays.get("true_values", inputs).size:
        raise UserError("its true_values are empty")
    for name, array in arrays.items():
        if not (np.abs(array.astype(np.float64)) <= _LARGEST).all():
            raise UserError(f"its {name} are not all finite and at most {_LARGEST:g}")
