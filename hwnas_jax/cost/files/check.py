"""Whether a measurement file can be believed: values, metrics, repeated rows, units."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from hwnas_jax.cost.files.measurements import SOURCES, Measurements, Sample
from hwnas_jax.cost.files.unit_checks import check_units
from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Choices

_MAY_BE_ZERO = frozenset({"cycles", "macs", "flops", "params"})


def check_measurements(
    measurements: Measurements, space: Choices, rows: Sequence[str] | None = None
) -> Measurements:
    """Returns `measurements` when they can be believed.

    Args:
      measurements: as read from a file. The architectures must be members of `space`.
      space: the search space of the networks.
      rows: what each network is called in messages. By default "networks[0]" and so on.

    Raises:
      UserError: names the row and what is wrong with it: a value that no cost can have, a metric
        that other rows have or lack, an architecture that an earlier row has too, or a unit that
        cannot be right.
    """
    if isinstance(measurements.batch_size, bool) or measurements.batch_size < 1:
        raise UserError(f"batch_size must be positive, got {measurements.batch_size!r}")
    choose(measurements.source, SOURCES, "source")
    check_notes(measurements.conditions)
    count = len(measurements.networks)
    if not 0 <= measurements.held_out <= count:
        raise UserError(f"held_out must lie in [0, {count}], got {measurements.held_out!r}")
    if rows is None:
        rows = [f"networks[{number}]" for number in range(count)]
    for name, samples in measurements.operations.items():
        for metric, sample in samples.items():
            check_sample(metric, sample, f"operation {name!r}", zero=metric in _MAY_BE_ZERO)
    seen: dict[tuple[str, ...], int] = {}
    names = [decision.name for decision in space.decisions]
    for number, (architecture, samples) in enumerate(
        zip(measurements.architectures, measurements.networks, strict=True)
    ):
        for metric, sample in samples.items():
            check_sample(metric, sample, rows[number])
        if samples.keys() ^ measurements.networks[0].keys():
            raise UserError(
                f"{rows[number]}: {rows[0]} has {', '.join(measurements.networks[0])}, "
                f"this one has {', '.join(samples)}; all must have the same metrics"
            )
        first = seen.setdefault(tuple(architecture[name] for name in names), number)
        if first != number:
            raise UserError(
                f"{rows[number]} is the same architecture as {rows[first]} "
                f"({_shown(samples)}, and {_shown(measurements.networks[first])}): keep one"
            )
    check_units(measurements, space, rows)
    return measurements


def _shown(samples: Mapping[str, Sample]) -> str:
    return ", ".join(f"{metric} {sample.median:.6g}" for metric, sample in samples.items())


def check_notes(conditions: Mapping[str, Any]) -> None:
    """Raises UserError unless the notes of a file's conditions are sentences."""
    notes = conditions.get("notes", [])
    if not isinstance(notes, list | tuple) or not all(isinstance(note, str) for note in notes):
        raise UserError(f"the notes of the conditions must be a list of texts, got {notes!r}")


def check_sample(metric: str, sample: Sample, where: str, *, zero: bool = False) -> None:
    """Raises UserError for a sample that no cost can be.

    Args:
      metric: the metric of the sample.
      sample: its values, of any type.
      where: names the row in messages.
      zero: whether a median of zero is allowed.
    """
    if not _is_number(sample.median) or sample.median < 0 or (sample.median == 0 and not zero):
        raise UserError(f"{where}: {metric} must be positive and finite, got {sample.median!r}")
    if not _is_number(sample.iqr) or sample.iqr < 0:
        raise UserError(
            f"{where}: the spread of {metric} must be finite, not negative, got {sample.iqr!r}"
        )
    if not isinstance(sample.repeats, int) or isinstance(sample.repeats, bool):
        raise UserError(f"{where}: repeats must be a whole number, got {sample.repeats!r}")
    if sample.repeats < 1:
        raise UserError(f"{where}: repeats must be positive, got {sample.repeats!r}")


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
