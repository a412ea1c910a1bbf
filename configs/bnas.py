"""BNAS on digits: cells of binary convolutions.

    hwnas search bnas

`--space.args.projected true` trains the binary kernels with projections (PCNN),
`--space.args.binary false` searches the same cells at full precision. `--cost.model analytic
--target.metric size_kib` puts the budget on the stored size. `--search.strategy elimination` drops
the worst operation of every edge again and again, as the paper does, and `--space.args.partial 2`
trains the supernet with half of the channels.
"""

from hwnas_jax.config import Config, SpaceConfig

config = Config(
    name="bnas", space=SpaceConfig(name="bnas", args={"channels": 16, "cells": 1, "binary": True})
)
