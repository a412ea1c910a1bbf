"""The experiment: what it consists of, and how it is loaded, changed, checked and saved."""

from hwnas_jax.config.experiment import (
    Config,
    CostConfig,
    DataConfig,
    DeriveConfig,
    FewShotConfig,
    ParallelConfig,
    ProfileConfig,
    RetrainConfig,
    SearchConfig,
    SpaceConfig,
    SweepConfig,
    TargetConfig,
    TemperatureConfig,
    WeightsConfig,
    alone,
)
from hwnas_jax.config.load import (
    config_folder,
    config_names,
    load_config,
    override,
    save_config,
    validate,
)
from hwnas_jax.registry import Part

__all__ = [
    "Config", "CostConfig", "DataConfig", "DeriveConfig", "FewShotConfig", "ParallelConfig", "Part",
    "ProfileConfig", "RetrainConfig", "SearchConfig", "SpaceConfig", "SweepConfig", "TargetConfig",
    "TemperatureConfig", "WeightsConfig", "alone", "config_folder", "config_names", "load_config",
    "override", "save_config", "validate",
]  # fmt: skip
