"""NAS-Bench-Macro's space on digits (8x8), at a small size.

    hwnas search nasbench_macro

The published size is the space's default. Wall time and result are not measured.
"""

from hwnas_jax.config import Config, SpaceConfig

config = Config(
    name="nasbench_macro",
    space=SpaceConfig(
        name="nasbench_macro",
        args={"width": 0.25, "depth": 3, "halvings": 2},
    ),
)
