"""Complete graph on digits: six nodes, every forward edge optional.

    hwnas search complete_graph

The temperature falls from broad exploration of all edges to one choice each.
"""

from hwnas_jax.config import Config, SpaceConfig, override

config = override(
    Config(
        name="complete_graph",
        space=SpaceConfig(name="complete_graph", args={"channels": 8, "nodes": 6, "stages": 2}),
    ),
    search__temperature__start=5.0,
    search__temperature__end=0.1,
)
