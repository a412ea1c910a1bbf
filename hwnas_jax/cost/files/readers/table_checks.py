"""What every published table must satisfy, and what a person should be told about it.

Legend: `N` architectures, `D` decisions, `V` devices.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwnas_jax.cost.files.observations import METRICS, CostTable
from hwnas_jax.cost.files.unit_checks import check_latencies, disconnected
from hwnas_jax.cost.files.unit_doubts import doubt_latencies
from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Choices

_NEAR_ZERO = 0.01
_DOUBTED = 200


def check_table(table: CostTable) -> CostTable:
    """Returns `table` when every row of it can be used.

    Raises:
      UserError: names the device and the row of a value that no cost can have, of an architecture
        that is not in the space, or of one that appears twice.
    """
    count, devices = len(table.architectures), len(table.devices)
    if not count or not devices:
        raise UserError("the table is empty")
    if len(set(table.devices)) != devices:
        raise UserError(f"a device appears twice: {', '.join(sorted(table.devices))}")
    check_architectures(table.space, table.architectures)
    for metric, column in table.values.items():
        choose(metric, METRICS, "metric")
        if column.shape != (devices, count):
            raise UserError(
                f"{metric} has shape {list(column.shape)}; {devices} devices and {count} "
                f"architectures need {[devices, count]}"
            )
        wrong = np.argwhere(~(np.isnan(column) | (np.isfinite(column) & (column > 0))))
        if len(wrong):
            device, row = wrong[0]
            raise UserError(
                f"row [{row}]: {metric} of {table.devices[device]} must be positive and finite, "
                f"got {column[device, row]}"
            )
    return table


def check_architectures(space: Choices, architectures: np.ndarray) -> None:
    """Raises UserError for architectures (`int[N, D]`) out of range, or a repeated row."""
    if architectures.ndim != 2 or architectures.shape[1] != space.num_decisions:
        raise UserError(
            f"architectures of {space.name} have {space.num_decisions} decisions, "
            f"the table has shape {list(architectures.shape)}"
        )
    check_options(space, architectures)
    _, first, where = np.unique(architectures, axis=0, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[where.ravel()] != np.arange(len(architectures)))
    if len(again):
        row = again[0]
        raise UserError(
            f"row [{row}] is the same architecture as row [{first[where.ravel()[row]]}]"
        )


def check_options(space: Choices, architectures: np.ndarray) -> None:
    """Raises UserError for architectures (`int[N, D]`) with an option that a decision lacks."""
    widths = np.array([len(decision.options) for decision in space.decisions])
    wrong = np.argwhere((architectures < 0) | (architectures >= widths))
    if len(wrong):
        row, decision = wrong[0]
        raise UserError(
            f"row [{row}]: option {architectures[row, decision]} of "
            f"{space.decisions[decision].name} is not in 0..{widths[decision] - 1}"
        )


def check_table_units(table: CostTable, rows: Sequence[str], batch_size: int = 1) -> None:
    """Refuses latencies that are plainly in another unit.

    Args:
      table: as `check_table` returned it.
      rows: what each architecture is called in messages.
      batch_size: images per call.

    Raises:
      UserError: names the device and the row.
    """
    if "latency_ms" not in table.values:
        return
    for device, latencies_ms in zip(table.devices, table.values["latency_ms"], strict=True):
        known = np.flatnonzero(~np.isnan(latencies_ms))
        try:
            check_latencies(
                table.space, table.architectures[known], latencies_ms[known],
                rows=[rows[int(row)] for row in known], batch_size=batch_size,
            )  # fmt: skip
        except UserError as error:
            raise UserError(f"{device}: {error}") from error


def table_doubts(table: CostTable, batch_size: int = 1) -> tuple[str, ...]:
    """Returns a sentence for each device whose latencies may be in another unit.

    Raises:
      UserError: names a device that cannot be as quick as the table says.
    """
    found: list[str] = []
    for device, latencies_ms in zip(
        table.devices, table.values.get("latency_ms", np.zeros((0, 0))), strict=False
    ):
        rows = np.flatnonzero(~np.isnan(latencies_ms))
        rows = rows[:: 1 + len(rows) // _DOUBTED]
        found += doubt_latencies(
            table.space, table.architectures[rows], latencies_ms[rows],
            device=device, batch_size=batch_size,
        )  # fmt: skip
    return tuple(found)


def unknown_zeros(
    space: Choices, architectures: np.ndarray, devices: Sequence[str], values: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Replaces a cost of zero by NaN (unknown) where the network computes nothing.

    Such a network can take less time than the clock resolves, but no cost is truly zero.

    Args:
      space: the space of the architectures.
      architectures: `int32[N, D]`.
      devices: `V` names.
      values: `float64[V, N]` by metric.

    Returns:
      The values, and one sentence for each device that had such zeros. Zeros of other networks
      are kept; `check_table` refuses them.
    """
    if not any((column == 0).any() for column in values.values()):
        return dict(values), ()
    cut = disconnected(space, architectures)
    found, told = {}, []
    for metric, column in values.items():
        empty = (column == 0) & cut
        found[metric] = np.where(empty, np.nan, column)
        told += [
            f"{device}: {metric} of {count:,} architectures without a path from input to output "
            "is given as 0 and taken as unknown"
            for device, count in zip(devices, empty.sum(axis=1), strict=True)
            if count
        ]
    return found, tuple(told)


def table_notes(table: CostTable) -> tuple[str, ...]:
    """Returns sentences about networks that compute nothing; such networks stay in the table.

    No path leads from their input to their output. They can be so quick that only the call itself
    was timed.
    """
    cut = disconnected(table.space, table.architectures)
    if not cut.any():
        return ()
    found = [
        f"{cut.sum():,} of {len(cut):,} architectures have no path from input to output; "
        "they are kept"
    ]
    for metric, column in table.values.items():
        for device, row in zip(table.devices, column, strict=True):
            known = row[~np.isnan(row)]
            near = row < _NEAR_ZERO * (np.median(known) if len(known) else 0.0)
            if near.any():
                found.append(
                    f"{device}: {metric} of {near.sum():,} architectures is below "
                    f"{_NEAR_ZERO:.0%} of the median, down to {row[near].min():.3g}; "
                    f"{(near & cut).sum():,} of them have no path from input to output"
                )
    return tuple(found)
