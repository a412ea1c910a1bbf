"""The cell level of TransNAS-Bench-101 on digits (8x8), at a small size.

    hwnas search transnas_cell

The published size is the space's default. Wall time and result are not measured.
"""

from hwnas_jax.config import Config, SpaceConfig

config = Config(
    name="transnas_cell",
    space=SpaceConfig(
        name="transnas_cell", args={"channels": 8, "macro": "41414", "stem_halvings": 0}
    ),
)
