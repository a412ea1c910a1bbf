"""The macro level of TransNAS-Bench-101 on digits (8x8), at a small size.

    hwnas search transnas_macro

The published size is the space's default. Wall time and result are not measured.
"""

from hwnas_jax.config import Config, SpaceConfig

config = Config(
    name="transnas_macro",
    space=SpaceConfig(
        name="transnas_macro",
        args={
            "channels": 8,
            "least": 4,
            "most": 6,
            "doublings": 3,
            "halvings": 2,
            "stem_halvings": 0,
        },
    ),
)
