"""NAS-Bench-Macro: eight layers, each the identity or one of two inverted residual blocks.

The parameters and multiply-accumulates of all 6,561 networks equal those of the published table
for CIFAR-10.

References: Su et al., "Prioritized Architecture Sampling with Monto-Carlo Tree Search", CVPR 2021.
"""

from typing import ClassVar

import numpy as np

from hwnas_jax.errors import UserError, shown
from hwnas_jax.spaces.base import SPACES
from hwnas_jax.spaces.core.layers import Inverted, Skip, Stage
from hwnas_jax.spaces.core.layerwise import Layerwise


@SPACES.add
class NasBenchMacro(Layerwise):
    """The macro space of NAS-Bench-Macro at any width."""

    name = "nasbench_macro"
    summary = "8 layers of 3 blocks (6,561), NAS-Bench-Macro; width, depth, halvings"
    stem_features = 32
    stages = (Stage(64, 2, 2), Stage(128, 3, 2), Stage(256, 3, 2))
    blocks: ClassVar[dict[str, Inverted | Skip]] = {
        "Identity": Skip(activated=False),
        "MB3_K3": Inverted(3, 3),
        "MB6_K5": Inverted(5, 6),
    }
    default_halvings = 3
    default_activation = "relu"

    def to_string(self, architecture: np.ndarray) -> str:
        return "".join(str(option) for option in self.check(architecture))

    def from_string(self, text: str) -> np.ndarray:
        fits = len(text) == self.num_decisions and set(text) <= set("012")
        if not fits:
            raise UserError(
                f"{shown(text)} is no network of {self.name}: it is {self.num_decisions} digits "
                f"from 0 (Identity), 1 (MB3_K3), 2 (MB6_K5), as in "
                f"{'012' * 3:.{self.num_decisions}}"
            )
        names = list(self.blocks)
        chosen = [names[int(digit)] for digit in text]
        return self.from_names(dict(zip((d.name for d in self.decisions), chosen, strict=True)))
