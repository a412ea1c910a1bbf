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
        retrain=RetrainConfig(optimizer="adamw", learning_rate=0.01, weight_decay=0.05),
    ),
    search__weights__optimizer="adamw",
    search__weights__learning_rate=0.01,
    search__weights__learning_rate_end=0.0,
    search__weights__decay=0.05,
    search__weights__clip_norm=1.0,
)  # fmt: skip
