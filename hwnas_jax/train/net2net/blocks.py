"""The blocks of a network, stage by stage, by which two networks of one family are compared.

A stage is a part of the network in which blocks can be added.
"""

import itertools
from typing import NamedTuple

import numpy as np

from hwnas_jax.spaces.autoformer import AutoFormer
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.channels import Channels
from hwnas_jax.spaces.codesign import Codesign
from hwnas_jax.spaces.core.layerwise import Layerwise
from hwnas_jax.spaces.darts import Darts
from hwnas_jax.spaces.dash import Dash
from hwnas_jax.spaces.mnasnet import MnasNet
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.spaces.ofa import OFA
from hwnas_jax.spaces.single_path import SinglePath
from hwnas_jax.spaces.transnas_cell import TransNASCell
from hwnas_jax.spaces.transnas_macro import TransNASMacro

_FIRST, _REST, _LAST = "first", "rest", "last"


class Block(NamedTuple):
    """A block of a network.

    Attributes:
      path: where it stands in the module.
      label: blocks of one label, in one stage, can stand for each other.
    """

    path: tuple[str | int, ...]
    label: str


def stages_of(space: Space, architecture: np.ndarray) -> list[list[Block]]:
    """Returns the blocks of each stage of a network; none where a family knows no depth.

    Args:
      space: of the network.
      architecture: `int32[D]`.
    """
    architecture = np.asarray(architecture)
    match space:
        case Codesign():
            own = architecture[: space.num_network_decisions]
            return stages_of(space.network_space, own)
        case SinglePath():
            return stages_of(space.backbone, architecture)
        case NasBench201():
            return [
                [Block(("stages", stage, "layers", cell), _REST) for cell in range(space.cells)]
                for stage in range(space.num_stages)
            ]
        case TransNASCell():
            begins = [not cell.keeps_shape for cell in space.layout()]
            return _by_lengths("cells", _lengths(begins))
        case TransNASMacro():
            text = space.to_string(architecture).split("-")[1]
            return [[Block(("modules", number), digit) for number, digit in enumerate(text)]]
        case Darts():
            return [_run("cells", range(space.network_cells), _REST)]
        case Dash():
            return _by_lengths("blocks", [space.depth] * len(space.widths))
        case AutoFormer():
            depth = space.depths[architecture[1]]
            return [_run(name, range(depth), _REST) for name in ("attentions", "mlps")]
        case Channels():
            return _by_lengths("body", space.counts)
        case OFA():
            units = [unit for unit, *_ in space.layers_of(architecture)]
            return _by_lengths("layers", [units.count(unit) for unit in sorted(set(units))])
        case MnasNet():
            return _by_lengths("layers", [
                space.counts(block)[architecture[6 * block + 5]]
                for block in range(len(space.depths))
            ])  # fmt: skip
        case Layerwise():
            stages = _by_lengths("body", [len(stage) for stage in space.layers])
            return [
                [*own[:-1], own[-1]._replace(label=_LAST)] if stage.last is not None else own
                for own, stage in zip(stages, space.stages, strict=True)
            ]
        case _:
            return []


def _run(name: str, numbers: range, label: str) -> list[Block]:
    return [Block((name, number), label) for number in numbers]


def _by_lengths(name: str, lengths: list[int] | tuple[int, ...]) -> list[list[Block]]:
    """Returns the stages of a list of blocks; the first block of each may change the shape."""
    ends = list(itertools.accumulate(lengths))
    return [
        [Block((name, start), _FIRST), *_run(name, range(start + 1, end), _REST)]
        for start, end in zip([0, *ends], ends, strict=False)
    ]


def _lengths(begins: list[bool]) -> list[int]:
    """Returns the lengths of runs of which each but perhaps the first begins with a true value."""
    starts = sorted({0, *np.flatnonzero(begins).tolist()})
    return [end - start for start, end in itertools.pairwise([*starts, len(begins)])]


def pairs_of(
    source: list[Block], target: list[Block]
) -> tuple[list[tuple[Block | None, Block]], int]:
    """Returns each block of a stage with the one of another stage that it stands for.

    Args:
      source: the smaller stage, whose blocks are given out in their order.
      target: the larger stage.

    Returns:
      The pairs, with None for a new block, and the number of blocks of `source` without a place.
    """
    left, pairs = list(source), []
    for block in target:
        fits = left and left[0].label == block.label
        pairs.append((left.pop(0) if fits else None, block))
    return pairs, len(left)
