"""AutoFormer's space on digits: a vision transformer over 2x2 patches.

    hwnas search autoformer

The published size, AutoFormer-Tiny, is the space's default. Wall time and result are not measured.
"""

from hwnas_jax.config import Config, RetrainConfig, SpaceConfig, override

config = override(
    Config(
        name="autoformer",
        space=SpaceConfig(
            name="autoformer",
            args={
                "embeddings": "24,32,40", "depths": "2,3,4", "heads": "2,3,4", "ratios": "1,2,3",
                "head_size": 8, "patch": 2,
            },
        ),
        retrain=RetrainConfig(networks=1, learning_rate=0.05, weight_decay=5e-4),
    ),
    search__weight_learning_rate=0.05,
    search__weight_clip_norm=1.0,
)  # fmt: skip
