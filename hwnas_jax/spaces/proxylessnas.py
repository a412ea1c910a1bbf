"""ProxylessNAS: 21 layers of inverted residuals of kernel 3, 5, 7 and expansion 3, 6.

A layer that keeps its shape may also be skipped.

References: Cai et al., "ProxylessNAS: Direct Neural Architecture Search on Target Task and
Hardware", ICLR 2019.
"""

from typing import ClassVar

from hwnas_jax.spaces.base import SPACES
from hwnas_jax.spaces.core.layers import Inverted, Skip, Stage
from hwnas_jax.spaces.core.layerwise import Layerwise


@SPACES.add
class ProxylessNAS(Layerwise):
    """ProxylessNAS's space at any width."""

    name = "proxylessnas"
    summary = "21 layers of 6 or 7 blocks, ProxylessNAS; width, depth, halvings, se, activation"
    stem_features = 32
    first_features = 16
    stages = (
        Stage(24, 4, 2), Stage(40, 4, 2), Stage(80, 4, 2), Stage(96, 4, 1), Stage(192, 4, 2),
        Stage(320, 1, 1),
    )  # fmt: skip
    blocks: ClassVar[dict[str, Inverted | Skip]] = {
        **{f"{k}x{k}_MBConv{e}": Inverted(k, e) for e in (3, 6) for k in (3, 5, 7)},
        "skip": Skip(everywhere=False),
    }
