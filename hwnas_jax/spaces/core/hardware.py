"""What an accelerator is, as far as it is decided: an array of multipliers, a buffer, a dataflow.

References: Jouppi et al., "In-Datacenter Performance Analysis of a Tensor Processing Unit", 2017;
Chen et al., "Eyeriss: An Energy-Efficient Reconfigurable Accelerator for Deep Convolutional Neural
Networks", 2017; Mei et al., "ZigZag", 2021.
"""

import dataclasses
from typing import NamedTuple

from hwnas_jax.errors import UserError, choose

DATAFLOWS = ("ws", "os", "rs")
"""What stays in the multipliers: weights, outputs, or rows of a convolution (Eyeriss)."""

ROW_WEIGHTS, ROW_INPUTS, ROW_SUMS = 224, 12, 24
"""Words of a row-stationary multiplier's scratchpads: those of Eyeriss."""

_SCRATCHPAD_BYTES = {"ws": 0, "os": 0, "rs": ROW_WEIGHTS + ROW_INPUTS + 2 * ROW_SUMS}


@dataclasses.dataclass(frozen=True)
class Design:
    """An accelerator.

    Attributes:
      rows: of the array of multipliers.
      columns: of the array.
      buffer_kib: the memory on the chip that all multipliers share.
      dataflow: one of `DATAFLOWS`.
      clock_mhz: turns cycles into time.
    """

    rows: int
    columns: int
    buffer_kib: int
    dataflow: str
    clock_mhz: float = 700.0

    def __post_init__(self):
        for name in ("rows", "columns", "buffer_kib"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(
                    f"{name} of an accelerator must be a whole number above 0, got {value!r}"
                )
        if not self.clock_mhz > 0:
            raise UserError(f"clock_mhz of an accelerator must be positive, got {self.clock_mhz!r}")
        choose(self.dataflow, DATAFLOWS, "dataflow")

    @property
    def label(self) -> str:
        """What tells it from others, for people."""
        return f"{self.rows}x{self.columns},{self.buffer_kib}KiB,{self.dataflow}"


TEMPLATES = {
    "tpu-like": Design(32, 32, 2048, "ws", 700.0),
    "edge-tpu-like": Design(32, 32, 2048, "os", 500.0),
    "eyeriss-like": Design(14, 12, 1024, "rs", 200.0),
}
"""Sizes and clocks as `cost/simulate/accelerator.py` has them. The 16 units of 8x8 multipliers
of the Edge-TPU-like design are taken as one array whose outputs stay in place."""


class Technology(NamedTuple):
    """What silicon costs; energies are per 8-bit word, a byte.

    The energies are those that ZigZag gives its TPU-like and its Edge-TPU-like accelerator; areas
    are of the first TPU in 28 nm, whose 65,536 multipliers take 24 % and whose 24 MiB of buffer
    29 % of at most 331 square millimetres. A multiplier's area includes its registers, not the
    scratchpads of a row-stationary one, which count as buffer.

    Attributes:
      mac_pj: a multiply-accumulate.
      register_pj: what the registers of a multiplier take for it: a weight, and a partial sum that
        is read and written.
      buffer_read_pj: a byte from a buffer of `buffer_reference_kib`; it grows with the square root
        of the size.
      buffer_write_pj: a byte to it.
      buffer_reference_kib: of the energies above.
      dram_read_pj: a byte.
      dram_write_pj: a byte.
      dram_bytes_per_cycle: read and written together.
      partial_sum_bytes: of a sum that is not complete.
      mac_area_mm2: a multiplier with its registers.
      buffer_area_mm2: a KiB of buffer.
    """

    mac_pj: float = 0.04
    register_pj: float = 0.095 + 2 * 0.021
    buffer_read_pj: float = 416.16 / 256
    buffer_write_pj: float = 378.4 / 256
    buffer_reference_kib: float = 2048.0
    dram_read_pj: float = 700.0 / 8
    dram_write_pj: float = 750.0 / 8
    dram_bytes_per_cycle: float = 8.0
    partial_sum_bytes: float = 2.0
    mac_area_mm2: float = 0.24 * 331 / 65536
    buffer_area_mm2: float = 0.29 * 331 / (24 * 1024)


def area_mm2(design: Design, technology: Technology | None = None) -> float:
    """Returns the area of the multipliers and the buffer, in square millimetres."""
    silicon = technology or Technology()
    scratchpad_kib = _SCRATCHPAD_BYTES[design.dataflow] / 1024
    multiplier = silicon.mac_area_mm2 + scratchpad_kib * silicon.buffer_area_mm2
    return design.rows * design.columns * multiplier + design.buffer_kib * silicon.buffer_area_mm2
