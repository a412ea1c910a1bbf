"""From the raw arrays of each part to a data set."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.own.classes import plural
from hwnas_jax.data.own.inputs import Layout, check_varied, constant_inputs, make_inputs
from hwnas_jax.data.own.targets import TaskName, make_targets
from hwnas_jax.data.pipeline import holdout
from hwnas_jax.errors import UserError

_SEED = 0


class Raw(NamedTuple):
    """The examples of one part as they were read.

    Attributes:
      inputs: `[N, ...]`.
      targets: `[N]`, `[N, outputs]`, `[N, H, W]` or `[N, H, W, values]`; texts, numbers or truth
        values.
      places: what messages call each example, such as its file; () takes its number.
    """

    inputs: np.ndarray
    targets: Any
    places: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What the user says of arrays, where they do not say it themselves.

    Attributes:
      layout: what the axes of the inputs mean.
      task: what the targets are for.
      names: of classes or outputs, in order.
      test_fraction: share that is held out for the test where there is no test part.
    """

    layout: Layout | None = None
    task: TaskName | None = None
    names: Sequence[str] | None = None
    test_fraction: float = 0.2


def make_dataset(
    name: str,
    parts: Mapping[str, Raw],
    meaning: Meaning,
    *,
    where: str | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """Returns the data set that raw parts make.

    Validation examples join the train examples: a search and a training hold out examples of their
    own. Without a test part a share of the train part is held out, the same of every class.

    Args:
      name: of the data set.
      parts: "train", and where there are any "validation" and "test".
      meaning: settles what the arrays leave open.
      where: begins messages; the name when left out.
      notes: on how the parts were read.

    Raises:
      UserError: when the parts do not fit together, or their meaning is in doubt.
    """
    where = where or f"data set {name}"
    if "train" not in parts:
        raise UserError(f"{where}: there is no train part, only {', '.join(parts) or 'nothing'}")
    for part, raw in parts.items():
        for kind, array in raw._asdict().items():
            if kind != "places" and np.ndim(array) == 0:
                raise UserError(f"{where}: {part} {kind} are one value, and must be an array")
        counts = len(raw.inputs), len(raw.targets)
        if counts[0] != counts[1]:
            raise UserError(f"{where}: {part} has {counts[0]} inputs but {counts[1]} targets")
    inputs = make_inputs({part: raw.inputs for part, raw in parts.items()}, meaning.layout, where)
    shapes = {part: array.shape[1:] for part, array in inputs.items()}
    if len(set(shapes.values())) > 1:
        sizes = ", ".join(f"{part} {list(shape)}" for part, shape in shapes.items())
        raise UserError(f"{where}: the inputs of all parts must have one size, got {sizes}")
    targets = make_targets(
        {part: raw.targets for part, raw in parts.items()}, _size(inputs["train"]),
        names=meaning.names, task=meaning.task, where=where,
    )  # fmt: skip
    said = [*notes, *targets.notes, *_constant(parts, inputs)]
    learned = targets.parts
    if "validation" in parts:
        count = plural(len(learned["validation"]), "validation example")
        said.append(f"{count} joined the train examples: searches hold out their own")
        inputs, learned = (
            {**arrays, "train": np.concatenate([arrays["train"], arrays["validation"]])}
            for arrays in (inputs, learned)
        )
    check_varied(inputs["train"], where)
    if "test" not in parts:
        try:
            kept, held_out = holdout(learned["train"], meaning.test_fraction, _SEED)
        except UserError as error:
            raise UserError(f"{where}: there is no test part, and {error}") from error
        said.append(
            f"there is no test part: {plural(len(held_out), 'example')} of "
            f"{len(learned['train'])} are held out as one"
        )
        inputs, learned = (
            {"train": arrays["train"][kept], "test": arrays["train"][held_out]}
            for arrays in (inputs, learned)
        )
    return Dataset(
        name=name,
        train_inputs=inputs["train"],
        train_targets=learned["train"],
        test_inputs=inputs["test"],
        test_targets=learned["test"],
        output_names=targets.names,
        task=targets.task,
        notes=tuple(said),
    )


def _size(inputs: np.ndarray) -> tuple[int, int]:
    """Returns height and width of inputs `[N, H, W, C]`, or of sequences `[N, L, C]`."""
    height, width = inputs.shape[1:3] if inputs.ndim == 4 else (1, inputs.shape[1])
    return height, width


def _constant(parts: Mapping[str, Raw], inputs: Mapping[str, np.ndarray]) -> list[str]:
    """Returns a note on each part in which some inputs hold one value only."""
    said = []
    for part, array in inputs.items():
        same = constant_inputs(array)
        if len(same):
            first, places = int(same[0]), parts[part].places
            place = places[first] if places else f"number {first} (counted from 0)"
            said.append(
                f"{len(same)} of {len(array)} {part} inputs hold one value only, the first is "
                f"{place}"
            )
    return said
