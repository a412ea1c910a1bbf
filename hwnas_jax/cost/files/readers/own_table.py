"""The costs in a table that `hwnas table` has made: latencies of one device, and counts."""

from collections.abc import Mapping

import numpy as np

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.files.readers.build_table import make_table
from hwnas_jax.cost.files.table_file import measured_metrics, parse_table
from hwnas_jax.errors import UserError

COUNTED = "counted"
"""The device of a table in which nothing was measured."""


def read_own_table(source: str, arrays: Mapping[str, np.ndarray]) -> CostTable:
    """Returns the costs of a table's networks.

    Args:
      source: the file's name.
      arrays: what it holds.

    Raises:
      UserError: as `parse_table`, and for costs that no device can have.
    """
    table = parse_table(arrays)
    device, batch_size = COUNTED, 1
    if table.device is not None:
        device, size = str(table.device.get("kind", source)), table.device.get("batch_size")
        if not isinstance(size, int) or size < 1:
            raise UserError(f"device must name the batch size of the latencies, got {size!r}")
        batch_size = size
    values = {name: column[None] for name, column in measured_metrics(table).items()}
    return make_table(
        source, table.space, table.architectures, (device,), values, batch_size=batch_size
    )
