"""Darcy flow (33x33, solved on this machine): the pressure at every point of a porous medium.

    hwnas search darcy

Inputs have the permeability and the coordinates of every point, as in NAS-Bench-360, whose grids
have 85x85 points: `--data.args size 85 coordinates True`. Its published files are read with
`--data.name nb360_darcy --data.path FOLDER`. The same pressure for every medium has a relative
error of .25.
"""

from hwnas_jax.config import Config, DataConfig, DeriveConfig, Part, RetrainConfig

config = Config(
    name="darcy",
    data=DataConfig(name="darcy", args={"coordinates": True}),
    derive=DeriveConfig(rule=Part("halving", {"steps": 150})),
    retrain=RetrainConfig(epochs=30),
)
