"""Single-Path NAS's space on digits (8x8), at a small size.

    hwnas search single_path

The published size is the space's default. Wall time and result are not measured.
"""

from hwnas_jax.config import Config, SpaceConfig

config = Config(
    name="single_path",
    space=SpaceConfig(
        name="single_path", args={"width": 0.25, "depth": 2, "halvings": 2, "head": 640}
    ),
)
