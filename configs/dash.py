"""DASH on digits: a kernel size and a dilation for every convolution.

    hwnas search dash

Sequences come as images one pixel high; the options then default to the paper's for one dimension.
"""

from hwnas_jax.config import Config, Part, SpaceConfig, override

config = override(
    Config(
        name="dash",
        space=SpaceConfig(
            name="dash", args={"channels": 8, "blocks": 1, "kernels": "3,5,7", "dilations": "1,3"}
        ),
    ),
    search__relaxation=Part("gumbel_softmax"),
)
