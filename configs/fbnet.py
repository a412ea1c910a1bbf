"""FBNet's space on digits (8x8), at a small size.

    hwnas search fbnet

The published size is the space's default. Wall time and result are not measured.
"""

from hwnas_jax.config import Config, SpaceConfig

config = Config(
    name="fbnet",
    space=SpaceConfig(
        name="fbnet",
        args={"width": 0.25, "depth": 2, "halvings": 2},
    ),
)
