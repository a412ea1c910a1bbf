"""Cells of binary convolutions: weights and activations of one bit each.

The cell is NAS-Bench-201's, 4 nodes and 6 edges, with binary 3x3 and 5x5 convolutions in place of
its own. Convolutions between the stages are binary too. The first and the last layer stay at full
precision, and shortcuts have no parameters. With `binary` off, the same networks are built at full
precision. With `partial` above one, the supernet serves some of the channels only, as the paper
does; the networks have all of them.

References: Chen et al., "Binarized Neural Architecture Search" (BNAS), AAAI 2020, and "BNAS:
Binarized Neural Architecture Search for Efficient Object Recognition", IJCV 2021; Rastegari et
al., "XNOR-Net", ECCV 2016; Gu et al., "Projection Convolutional Neural Networks", AAAI 2019; Dong
and Yang, "NAS-Bench-201", ICLR 2020 (the cell); Xu et al., "PC-DARTS", ICLR 2020 (partial
channels).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from flax import nnx

from hwnas_jax.errors import UserError
from hwnas_jax.nn.binary_cell import (
    BinaryCells,
    BinaryReduction,
    FloatConv,
    Reduction,
    binary_forms,
    record_of,
)
from hwnas_jax.nn.cell_operations import AVG_POOL_3X3, NONE, SKIP_CONNECT
from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.outputs import Output
from hwnas_jax.nn.quantised import BinaryConv
from hwnas_jax.spaces.base import SPACES
from hwnas_jax.spaces.core.arguments import Cells, Channels
from hwnas_jax.spaces.core.four_nodes import EDGES
from hwnas_jax.spaces.nasbench201 import NasBench201

_SIZES = (3, 5)


@SPACES.add
class BNAS(NasBench201):
    """NAS-Bench-201's graph with binary convolutions."""

    name = "bnas"
    summary = "cells of 6 binary convolutions (15,625); channels, cells, binary, projected, partial"
    takes_sequences = False

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        outputs: Sequence[Output] = (),
        channels: Channels = 16,
        cells: Cells = 5,
        binary: bool = True,
        projected: bool = False,
        partial: Annotated[int, Ge(1), Le(64)] = 1,
    ):
        """Sets the size.

        Args:
          input_shape: `(H, W, C)` of one image; `H` and `W` at least 4.
          num_outputs: outputs of the network.
          outputs: what the network puts out; one vector if left out.
          channels: width of the first of three stages; the others have twice and four times it.
          cells: cells per stage.
          binary: False for full precision.
          projected: train binary kernels with learned projections (PCNN) in place of the plain
            straight-through gradient (XNOR).
          partial: in the supernet, one in so many channels goes through the operations of an edge;
            the others pass by (PC-DARTS). Divides `channels`.

        Raises:
          UserError: for images too small to halve twice, projections at full precision, or
            channels that `partial` does not divide.
        """
        if projected and not binary:
            raise UserError("space.args.projected is for binary kernels: it needs binary true")
        if channels % partial:
            raise UserError(
                f"space.args.partial = {partial} must divide space.args.channels = {channels}"
            )
        record = record_of(binary=binary, projected=projected)
        self.cell_operations = (NONE, SKIP_CONNECT, *map(record, _SIZES), AVG_POOL_3X3)
        super().__init__(
            input_shape=input_shape, num_outputs=num_outputs, outputs=outputs,
            channels=channels, cells=cells,
        )  # fmt: skip
        self.binary, self.projected = binary, projected
        self.partial = partial
        self.args |= {"binary": binary, "projected": projected, "partial": partial}

    def mixed_stage(self, width: int, rngs: nnx.Rngs, **options: Any) -> nnx.Module:
        """Builds the cells of a stage of the supernet; the arguments are those of NAS-Bench-201."""
        if self.partial == 1:
            return super().mixed_stage(width, rngs, **options)
        known = binary_forms(binary=self.binary, projected=self.projected)
        return BinaryCells(
            self.cells, width, EDGES, [known[operation] for operation in self.cell_operations],
            rngs, binary=self.binary, projected=self.projected, partial=self.partial, **options,
        )  # fmt: skip

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        if self.partial > 1:
            raise UserError(
                f"the supernet has the weights of one in {self.partial} channels only "
                "(space.args.partial); a network cannot inherit them"
            )
        super().inherit(network, architecture, supernet)

    def reduction(self, narrow: int, wide: int, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        if not self.binary:
            return Reduction(narrow, wide, norm, rngs, kind=FloatConv)
        conv: Callable[..., nnx.Module] = functools.partial(BinaryConv, projected=self.projected)
        return BinaryReduction(narrow, wide, norm, rngs, kind=conv)
