"""DNA: six stages, 19 layers of inverted residuals with squeeze-excitation and swish.

The last layer of a stage has as many channels as the teacher's block that it learns to imitate.

References: Li et al., "Block-wisely Supervised Neural Architecture Search with Knowledge
Distillation", CVPR 2020.
"""

from typing import ClassVar

from hwnas_jax.spaces.base import SPACES
from hwnas_jax.spaces.core.layers import Inverted, Skip, Stage
from hwnas_jax.spaces.core.layerwise import Layerwise


@SPACES.add
class DNA(Layerwise):
    """DNA's space at any width."""

    name = "dna"
    summary = "6 stages, 19 layers of 6 blocks, DNA; width, depth, halvings, se, activation"
    stem_features = 32
    first_features = 16
    stages = (
        Stage(24, 2, 2, last=48), Stage(40, 4, 2, last=80), Stage(80, 4, 2, last=160),
        Stage(112, 4, 1, last=224), Stage(192, 4, 2, last=384), Stage(320, 1, 1, last=640),
    )  # fmt: skip
    blocks: ClassVar[dict[str, Inverted | Skip]] = {
        f"MB{e}_{k}x{k}": Inverted(k, e) for e in (6, 3) for k in (3, 5, 7)
    }
    default_activation = "swish"
    default_se = True
