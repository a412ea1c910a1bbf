"""An analytical model of accelerators: many layers on many arrays of multipliers at once.

A layer is folded onto the array. Its cycles are those of the folds, including filling and draining
the array, or those of moving its data to and from DRAM, whichever are more. Arithmetic is 8-bit.
Pooling, sums and element-wise operations are left out, as in
`hwnas_jax.cost.simulate.accelerator`.

- Weight stationary ("ws"): the terms of a sum lie along the rows and output channels along the
  columns, while pixels stream by. Partial sums of more than one fold rest in half of the buffer.
  Pixels that do not fit there at once make it necessary to load the weights again.
- Output stationary ("os"): pixels lie along the rows and output channels along the columns.
- Row stationary ("rs"): rows of the kernel lie along the rows and rows of the output along the
  columns. Where there is room, further channels lie beside them.

What does not fit into the buffer is fetched from DRAM again. That is either the weights, once for
every part of the inputs that fits into half of the buffer, or the inputs, once for every part of
the weights, whichever is less. Halos between parts are left out.

Legend: `L` layers, `A` accelerators.

References: Samajdar et al., "A Systematic Methodology for Characterizing Scalability of DNN
Accelerators using SCALE-Sim", 2020 (cycles of a fold); Chen et al., "Eyeriss", 2017 (row
stationary); Williams et al., "Roofline", 2009.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from hwnas_jax.cost.simulate.layers import Layer
from hwnas_jax.spaces.core.hardware import (
    DATAFLOWS,
    ROW_INPUTS,
    ROW_SUMS,
    ROW_WEIGHTS,
    Design,
    Technology,
    area_mm2,
)


class Shapes(NamedTuple):
    """Layers as columns, `int32[L]` each. A layer has `groups * inputs` input channels."""

    batch: jax.Array
    groups: jax.Array
    inputs: jax.Array
    outputs: jax.Array
    height: jax.Array
    width: jax.Array
    kernel_rows: jax.Array
    kernel_columns: jax.Array
    read_pixels: jax.Array


class Designs(NamedTuple):
    """Accelerators as columns, `int32[A]` each, but `float32[A]` for the clock and the area.

    `dataflow` is a position in `DATAFLOWS`.
    """

    rows: jax.Array
    columns: jax.Array
    buffer_kib: jax.Array
    dataflow: jax.Array
    clock_mhz: jax.Array
    area_mm2: jax.Array


class Costs(NamedTuple):
    """What every layer costs on every accelerator, `float32[L, A]` each.

    Attributes:
      cycles: of the accelerator's clock.
      latency_ms: these cycles at the accelerator's clock.
      energy_mj: of arithmetic, registers, buffer and DRAM.
      dram_bytes: read and written.
      utilisation: multiply-accumulates per multiplier and cycle.
    """

    cycles: jax.Array
    latency_ms: jax.Array
    energy_mj: jax.Array
    dram_bytes: jax.Array
    utilisation: jax.Array


class _Fold(NamedTuple):
    """Cycles of the array, and bytes from and to the buffer."""

    cycles: jax.Array
    read: jax.Array
    written: jax.Array


def layer_shapes(layers: Sequence[Layer]) -> Shapes:
    """Returns layers as columns."""
    rows = [
        (
            each.batch, each.groups, each.inputs, each.outputs, each.height, each.width,
            *each.kernel, each.batch * _reach(each, 0) * _reach(each, 1),
        )
        for each in layers
    ]  # fmt: skip
    return Shapes(*(jnp.asarray(column, jnp.int32) for column in zip(*rows, strict=True)))


def _reach(layer: Layer, axis: int) -> int:
    """Returns how many rows (or columns) of its input a layer reads."""
    size = (layer.height, layer.width)[axis]
    span = layer.stride[axis] * (size - 1) + layer.dilation[axis] * (layer.kernel[axis] - 1) + 1
    return max(1, span - sum(layer.padding[axis]))


def stack_designs(designs: Sequence[Design], technology: Technology | None = None) -> Designs:
    """Returns accelerators as columns, with their areas."""
    whole = [
        [getattr(each, name) for each in designs] for name in ("rows", "columns", "buffer_kib")
    ]
    rows, columns, buffers = (jnp.asarray(column, jnp.int32) for column in whole)
    return Designs(
        rows, columns, buffers,
        jnp.asarray([DATAFLOWS.index(each.dataflow) for each in designs], jnp.int32),
        jnp.asarray([each.clock_mhz for each in designs], jnp.float32),
        jnp.asarray([area_mm2(each, technology) for each in designs], jnp.float32),
    )  # fmt: skip


@functools.partial(jax.jit, static_argnames="resident")
def layer_costs(
    shapes: Shapes, designs: Designs, technology: Technology, *, resident: bool = True
) -> Costs:
    """Returns what every layer costs on every accelerator.

    Args:
      shapes: of `L` layers.
      designs: `A` accelerators.
      technology: what silicon costs.
      resident: whether images stay on the chip between layers, as in a TPU, where input and output
        together fit into half of the buffer. Otherwise every layer begins and ends in DRAM, as in
        ZigZag.
    """
    chex.assert_rank([shapes.batch, designs.rows], 1)
    s = Shapes(*(column[:, None] for column in shapes))
    d = Designs(*(column[None] for column in designs))
    half = 512.0 * d.buffer_kib
    options = [_weight(s, d, half, technology), _output(s, d), _row(s, d, technology)]
    fold = _Fold(
        *(jnp.select([d.dataflow == i for i in range(len(options))], list(parts))
          for parts in zip(*options, strict=True))
    )  # fmt: skip
    macs = _product(
        s.batch, s.groups, s.inputs, s.outputs, s.height, s.width, s.kernel_rows, s.kernel_columns
    )
    weights = _product(s.groups, s.inputs, s.outputs, s.kernel_rows, s.kernel_columns)
    images = _product(s.groups, s.inputs, s.read_pixels)
    results = _product(s.batch, s.groups, s.outputs, s.height, s.width)
    fetched = jnp.minimum(
        weights + images * jnp.ceil(weights / half), images + weights * jnp.ceil(images / half)
    )
    written = results
    if resident:
        stays = images + results <= half
        fetched, written = jnp.where(stays, weights, fetched), jnp.where(stays, 0.0, results)
    moved = fetched + written
    cycles = jnp.maximum(fold.cycles, moved / technology.dram_bytes_per_cycle)
    growth = jnp.sqrt(d.buffer_kib / technology.buffer_reference_kib)
    energy_pj = (
        macs * (technology.mac_pj + technology.register_pj)
        + growth * technology.buffer_read_pj * (fold.read + written)
        + growth * technology.buffer_write_pj * (fold.written + fetched)
        + technology.dram_read_pj * fetched
        + technology.dram_write_pj * written
    )
    return Costs(
        cycles, cycles / (1e3 * d.clock_mhz), 1e-9 * energy_pj, moved,
        macs / (cycles * d.rows * d.columns),
    )  # fmt: skip


def _weight(s: Shapes, d: Designs, half: jax.Array, technology: Technology) -> _Fold:
    terms, pixels = s.inputs * s.kernel_rows * s.kernel_columns, s.batch * s.height * s.width
    down, across = _folds(terms, d.rows), _folds(s.outputs, d.columns)
    resting = technology.partial_sum_bytes * _product(pixels, jnp.minimum(s.outputs, d.columns))
    parts = jnp.where(down > 1, jnp.ceil(resting / half), 1.0)
    edges = parts * (2 * d.rows + d.columns - 2)
    sums = technology.partial_sum_bytes * _product(s.groups, s.outputs, pixels)
    return _Fold(
        _product(s.groups, down, across) * (edges + pixels),
        _product(s.groups, pixels, terms, across)
        + parts * _product(s.groups, s.outputs, terms)
        + sums * (down - 1),
        sums * down,
    )


def _output(s: Shapes, d: Designs) -> _Fold:
    terms, pixels = s.inputs * s.kernel_rows * s.kernel_columns, s.batch * s.height * s.width
    down, across = _folds(pixels, d.rows), _folds(s.outputs, d.columns)
    return _Fold(
        _product(s.groups, down, across) * (2.0 * d.rows + d.columns + terms - 2),
        _product(s.groups, pixels, terms, across) + _product(s.groups, s.outputs, terms, down),
        _product(s.groups, s.outputs, pixels),
    )


def _row(s: Shapes, d: Designs, technology: Technology) -> _Fold:
    below = jnp.maximum(d.rows // s.kernel_rows, 1)
    beside = jnp.maximum(d.columns // s.height, 1)
    turns, strips = _folds(s.kernel_rows, d.rows), _folds(s.height, d.columns)
    planes = s.batch * s.groups * s.inputs * s.outputs
    passes = _product(_folds(planes, below * beside), turns, strips)
    climb = jnp.minimum(s.kernel_rows, d.rows) - 1
    channels = jnp.clip(ROW_INPUTS // s.kernel_columns, 1, s.inputs)
    room = jnp.maximum(ROW_WEIGHTS // (channels * s.kernel_columns), 1)
    filters = jnp.minimum(jnp.minimum(room, ROW_SUMS), s.outputs)
    rounds = _folds(s.inputs, channels * below)
    weights = _product(s.groups, s.inputs, s.outputs, s.kernel_rows, s.kernel_columns)
    images = _product(s.groups, s.inputs, s.read_pixels)
    sums = technology.partial_sum_bytes * _product(s.batch, s.groups, s.outputs, s.height, s.width)
    return _Fold(
        passes * (s.width * s.kernel_columns + climb),
        weights * s.batch * strips
        + images * _folds(s.outputs, filters)
        + sums * (rounds * turns - 1),
        sums * rounds * turns,
    )


def _folds(size: jax.Array, room: jax.Array) -> jax.Array:
    return -(-size // room)


def _product(*factors: jax.Array) -> jax.Array:
    """Returns the product as float32: whole numbers would overflow."""
    result = jnp.ones((), jnp.float32)
    for factor in factors:
        result = result * factor
    return result
