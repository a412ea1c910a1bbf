"""Digits among pieces of others (12x12, 10 classes), built in: a task that tells networks apart.

hwnas search cluttered_digits
"""

from hwnas_jax.config import Config, DataConfig, RetrainConfig

config = Config(
    name="cluttered_digits",
    data=DataConfig(name="cluttered_digits", shift=1),
    retrain=RetrainConfig(epochs=4),
)
