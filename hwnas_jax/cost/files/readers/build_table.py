"""From what a published file says to a checked table of costs.

Legend: `N` architectures, `D` decisions, `V` devices.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.files.readers.table_checks import (
    check_table,
    check_table_units,
    table_doubts,
    table_notes,
    unknown_zeros,
)
from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Choices


def make_table(
    source: str,
    space: Choices,
    architectures: np.ndarray,
    devices: tuple[str, ...],
    values: Mapping[str, np.ndarray],
    splits: Mapping[str, tuple[str, ...]] | None = None,
    references: np.ndarray = np.zeros(0, int),  # noqa: B008 - never written to
    *,
    rows: Sequence[str] = (),
    batch_size: int = 1,
) -> CostTable:
    """Returns the checked table with its notes; `rows` names the architectures in messages.

    Raises:
      UserError: as `check_table`.
    """
    architectures = np.asarray(architectures, np.int32)
    values, unknown = unknown_zeros(
        space, architectures, devices,
        {metric: np.asarray(column, float) for metric, column in values.items()},
    )  # fmt: skip
    table = CostTable(
        source, space, architectures, tuple(devices), values, dict(splits or {}),
        references=tuple(int(row) for row in references),
    )  # fmt: skip
    check_table(table)
    check_table_units(
        table, rows or [f"row [{row}]" for row in range(len(architectures))], batch_size
    )
    for name, members in table.splits.items():
        for device in members:
            choose(device, table.devices, f"device (in the split {name})")
    if any(not 0 <= row < len(architectures) for row in table.references):
        raise UserError(f"a reference architecture is none of 0..{len(architectures) - 1}")
    doubts = table_doubts(table, batch_size)
    return dataclasses.replace(table, notes=(*unknown, *table_notes(table), *doubts))


def require_numbers(values: np.ndarray, what: str) -> np.ndarray:
    """Returns `values`; raises UserError that names the row of a value that is not a number."""
    wrong = np.argwhere(np.isnan(values))
    if len(wrong):
        raise UserError(f"row [{wrong[0][-1]}]: {what} is not a number")
    return values


def encode_names(space: Choices, texts: np.ndarray) -> np.ndarray:
    """Returns the architectures `int32[N, D]` of the options' names, `str[N, D]`.

    Raises:
      UserError: names the row of an option that the space does not have, and the nearest one.
    """
    if texts.shape[1] != space.num_decisions:
        raise UserError(
            f"an architecture of {space.name} has {space.num_decisions} decisions, "
            f"the file has {texts.shape[1]}"
        )
    architectures = np.zeros(texts.shape, np.int32)
    for number, decision in enumerate(space.decisions):
        known, inverse = np.unique(texts[:, number], return_inverse=True)
        options = np.zeros(len(known), np.int32)
        for i, name in enumerate(known):
            if name not in decision.options:
                row = int(np.argmax(inverse == i))
                choose(str(name), decision.options, f"option of {decision.name} in row [{row}]")
            options[i] = decision.options.index(name)
        architectures[:, number] = options[inverse]
    return architectures


def encode_texts(space: Choices, texts: Sequence[str], where: str = "") -> np.ndarray:
    """Returns the architectures `int32[N, D]` of texts in the customary notation of a space.

    Args:
      space: its `from_string` reads them.
      texts: one for each architecture.
      where: what stands before the row in a message.

    Raises:
      UserError: names the row of what is no architecture of the space.
    """
    architectures = np.zeros((len(texts), space.num_decisions), np.int32)
    for row, text in enumerate(texts):
        try:
            architectures[row] = space.from_string(text)
        except UserError as error:
            raise UserError(f"{where}row [{row}]: {error}") from error
    return architectures
