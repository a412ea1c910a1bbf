"""Digits among pieces of others (12x12, 10 classes), built in: a task that tells networks apart.

    hwnas search cluttered_digits

Eleven random cells with equal multiply-accumulates, each trained twice as here, had mean test
accuracies of 90.7 to 92.8 %. Their standard deviation is .67 points, that between trainings of one
cell .32. Plain digits show no difference between such cells. With `--derive.rule halving
--derive.confirm 4 --retrain.networks 1` the whole takes 3 min 27 s on 2 CPU cores.
"""

from hwnas_jax.config import Config, DataConfig, DeriveConfig, Part, RetrainConfig

config = Config(
    name="cluttered_digits",
    data=DataConfig(name="cluttered_digits", shift=1),
    derive=DeriveConfig(rule=Part("halving", {"steps": 150})),
    retrain=RetrainConfig(epochs=4),
)
