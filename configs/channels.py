"""Numbers of channels on digits (8x8), at a small size.

    hwnas search channels

The published size of the backbone is the space's default. Wall time and result are not measured.
"""

from hwnas_jax.config import Config, SpaceConfig

config = Config(
    name="channels",
    space=SpaceConfig(
        name="channels",
        args={"fractions": "0.25,0.5,0.75,1.0", "stages": 4, "depth": 2, "divisor": 4,
              "width": 0.5, "expansion": 4, "halvings": 2, "head": 640},
    ),
)  # fmt: skip
