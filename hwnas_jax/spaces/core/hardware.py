"""An accelerator as a search describes it: an array of multipliers, a buffer and a dataflow.

References: Jouppi et al., "In-Datacenter Performance Analysis of a Tensor Processing Unit", 2017;
Chen et al., "Eyeriss: An Energy-Efficient Reconfigurable Accelerator for Deep Convolutional Neural
Networks", 2017; Mei et al., "ZigZag", 2021.
"""

import dataclasses
from typing import NamedTuple

from hwnas_jax.errors import UserError, choose

DATAFLOWS = ("ws", "os", "rs")
"""The values that stay in the multipliers: weights, outputs, or rows of a convolution (Eyeriss)."""

ROW_WEIGHTS, ROW_INPUTS, ROW_SUMS = 224, 12, 24
"""Words in the scratchpads of a row-stationary multiplier, as in Eyeriss."""

_SCRATCHPAD_BYTES = {"ws": 0, "os": 0, "rs": ROW_WEIGHTS + ROW_INPUTS + 2 * ROW_SUMS}


@dataclasses.dataclass(frozen=True)
class Design:
    """An accelerator.

    Attributes:
      rows: rows of the array of multipliers.
      columns: columns of the array.
      buffer_kib: size of the memory on the chip that all multipliers share.
      dataflow: one of `DATAFLOWS`.
      clock_mhz: the clock that turns cycles into time.
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
        """A short description, for people."""
        return f"{self.rows}x{self.columns},{self.buffer_kib}KiB,{self.dataflow}"


TEMPLATES = {
    "tpu-like": Design(32, 32, 2048, "ws", 700.0),
    "edge-tpu-like": Design(32, 32, 2048, "os", 500.0),
    "eyeriss-like": Design(14, 12, 1024, "rs", 200.0),
}
"""Designs with the sizes and clocks of `cost/simulate/accelerator.py`. The Edge-TPU-like design has
16 units of 8x8 multipliers, which count here as one array whose outputs stay in place."""


class Technology(NamedTuple):
    """Energies and areas of the parts of an accelerator; an energy is for a word of 8 bits, a byte.

    The energies are those that ZigZag gives its TPU-like and its Edge-TPU-like accelerator. The
    areas are those of the first TPU in 28 nm: its 65,536 multipliers take 24 % and its 24 MiB of
    buffer 29 % of at most 331 square millimetres. A multiplier's area includes its registers. It
    does not include the scratchpads of a row-stationary multiplier, which count as buffer.

    Attributes:
      mac_pj: energy of a multiply-accumulate.
      register_pj: energy of a multiplier's registers for it: a weight is read, and a partial sum is
        read and written.
      buffer_read_pj: energy of a byte read from a buffer of `buffer_reference_kib`; it grows with
        the square root of the size.
      buffer_write_pj: energy of a byte written to it.
      buffer_reference_kib: the size of the buffer for the two energies above.
      dram_read_pj: energy of a byte read from memory outside the chip.
      dram_write_pj: energy of a byte written to it.
      dram_bytes_per_cycle: bytes that are read and written per cycle, together.
      partial_sum_bytes: size of a sum that is not complete.
      mac_area_mm2: area of a multiplier with its registers.
      buffer_area_mm2: area of a KiB of buffer.
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
