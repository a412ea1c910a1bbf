"""DARTS's cells on digits (8x8): a supernet of three cells, a network of six.

    hwnas search darts

The published sizes are 16 channels and 8 cells in the search, `network_channels` 36 and
`network_cells` 20 in the network, on 32x32 images, retrained for 600 epochs. Wall time and result
of this config are not measured.
"""

from hwnas_jax.config import Config, SpaceConfig

config = Config(
    name="darts",
    space=SpaceConfig(
        name="darts",
        args={
            "channels": 8,
            "cells": 3,
            "network_cells": 6,
            "auxiliary": 0.4,
            "drop_path": 0.2,
        },
    ),
)
