"""Network and accelerator together, on digits: NAS-Bench-201's cells and an array of multipliers.

    hwnas search codesign

The budget is the energy-delay-area product, computed by an analytical model; nothing is measured.
Networks that differ in their accelerator alone train alike, so the probabilities of the search
choose among them. The whole budget is to be spent, since the cost model is least sure of what costs
little.
"""

from hwnas_jax.config import (
    Config,
    DeriveConfig,
    Part,
    ProfileConfig,
    SpaceConfig,
    TargetConfig,
)

config = Config(
    name="codesign",
    space=SpaceConfig(
        name="codesign",
        args={
            "network": "nasbench201",
            "network_args": "channels=8,cells=1",
            "rows": "4,8,16,32",
            "columns": "4,8,16,32",
            "buffer_kib": "4,16,64",
            "dataflow": "ws,os,rs",
        },
    ),
    profile=ProfileConfig(runtime="systolic", networks=2000, batch_size=1),
    target=TargetConfig(metric="edap_mj_ms_mm2", percentile=25.0),
    budget=Part("dual_ascent"),
    derive=DeriveConfig(rule=Part("most_probable")),
)
