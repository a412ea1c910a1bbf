"""DNA's space on digits (8x8), at a small size.

    hwnas search dna

The published size is the space's default. Wall time and result are not measured.
"""

from hwnas_jax.config import Config, SpaceConfig

config = Config(
    name="dna",
    space=SpaceConfig(
        name="dna",
        args={"width": 0.25, "depth": 2, "halvings": 2, "head": 640},
    ),
)
