"""The options of a block-wise search."""

import dataclasses
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from hwnas_jax.registry import Part, checked_options
from hwnas_jax.search.blockwise import BLOCKWISE


@dataclasses.dataclass(frozen=True)
class Blockwise:
    """Blocks imitate a teacher; the best combination of their candidates is found exactly.

    The number of steps, the batch size and the devices are those of `search` and `parallel`.
    """

    name: ClassVar[str] = BLOCKWISE
    summary: ClassVar[str] = "blocks imitate a teacher's; the best combination is found exactly"

    teacher: str
    """run folder whose trained network the blocks imitate; it stays where it is until this search
    has ended"""
    loss: Literal["relative_l1", "mse"] = "relative_l1"
    """how far a block is from the teacher: mean |y - t| / std(t), or the mean square over var(t)"""
    learning_rate: Annotated[float, Gt(0)] = 0.005
    """of Adam at the first step; it falls to zero along a cosine"""
    rating_batches: Annotated[int, Ge(1)] = 4
    """batches of the held-out half that every candidate of a block is rated on"""
    networks: Annotated[int, Ge(1)] = 64
    """how many of the best networks within the budget the derivation chooses from"""
    rounds: Annotated[int, Ge(1)] = 1
    """DNA+: after each round but the last, the best network, widened, is trained and becomes the
    teacher of the next"""
    widen: Annotated[float, Ge(1)] = 2.0
    """how many times wider than the network found the next teacher is"""


def make_blockwise(part: Part) -> Blockwise:
    """Returns the options that a config gives; UserError for one that is not allowed."""
    return Blockwise(**checked_options(Blockwise, part.args, f"strategy {BLOCKWISE}"))
