"""Once-for-All's space on digits (8x8), at a small size; images may shrink to 4x4 first.

    hwnas search ofa

The published size is the space's default. Wall time and result are not measured.
"""

from hwnas_jax.config import Config, SpaceConfig

config = Config(
    name="ofa",
    space=SpaceConfig(
        name="ofa",
        args={
            "width": 0.5, "units": "1,2,3", "depths": "1,2,3", "kernels": "3,5,7",
            "expansions": "3,4,6", "resolutions": "4,8", "halvings": 2,
        },
    ),
)  # fmt: skip
