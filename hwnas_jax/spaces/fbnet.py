"""FBNet: 22 layers, each with one of nine blocks.

In a layer that changes the shape, the skip is a 1x1 convolution with normalisation and activation.

References: Wu et al., "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural
Architecture Search", CVPR 2019; Li et al., "HW-NAS-Bench: Hardware-Aware Neural Architecture
Search Benchmark", ICLR 2021 (the network for CIFAR-100 halves the image three times).
"""

from typing import ClassVar

from hwnas_jax.spaces.base import SPACES
from hwnas_jax.spaces.core.layers import Inverted, Skip, Stage
from hwnas_jax.spaces.core.layerwise import Layerwise


def _blocks():
    for kernel in (3, 5):
        yield f"k{kernel}_e1", Inverted(kernel, 1, always_expand=True)
        yield f"k{kernel}_e1_g2", Inverted(kernel, 1, groups=2, always_expand=True)
        yield f"k{kernel}_e3", Inverted(kernel, 3)
        yield f"k{kernel}_e6", Inverted(kernel, 6)
    yield "skip", Skip()


@SPACES.add
class FBNet(Layerwise):
    """FBNet's space at any width."""

    name = "fbnet"
    summary = "22 layers of 9 blocks, FBNet; width, depth, halvings, head, se, activation, partial"
    stem_features = 16
    stages = (
        Stage(16, 1, 1), Stage(24, 4, 2), Stage(32, 4, 2), Stage(64, 4, 2), Stage(112, 4, 1),
        Stage(184, 4, 2), Stage(352, 1, 1),
    )  # fmt: skip
    blocks: ClassVar[dict[str, Inverted | Skip]] = dict(_blocks())
    default_head = 1984
    default_activation = "relu"
