"""BNAS on digits: cells of binary convolutions.

    hwnas search bnas

`--space.args.projected true` trains the binary kernels with projections (PCNN),
`--space.args.binary false` searches the same cells at full precision. `--cost.model analytic
--target.metric size_kib` puts the budget on the stored size.
"""

from hwnas_jax.config import Config, SpaceConfig

config = Config(
    name="bnas", space=SpaceConfig(name="bnas", args={"channels": 16, "cells": 1, "binary": True})
)
