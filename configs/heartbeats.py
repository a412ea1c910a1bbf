"""Made heartbeats (256 steps, 4 classes) with DASH: kernel sizes and dilations for a sequence.

    hwnas search heartbeats

Two unusual beats are 64 steps apart, or 128: only a network that looks so far can tell. No network
can be right more often than 96 % of the time, as `hwnas_jax/data/series/ecg_like.py` explains.
"""

from hwnas_jax.config import Config, DataConfig, Part, SpaceConfig, override

config = override(
    Config(
        name="heartbeats",
        space=SpaceConfig(
            name="dash",
            args={"channels": 8, "blocks": 1, "kernels": "3,7,11", "dilations": "1,3,7"},
        ),
        data=DataConfig(name="ecg_like"),
    ),
    search__relaxation=Part("gumbel_softmax"),
)
