"""Digits among pieces of others (12x12, 10 classes), built in: a task that tells networks apart.

    hwnas search cluttered_digits

Eleven random cells with equal multiply-accumulates, each trained twice as here, had mean test
accuracies of 90.7 to 92.8 %. Their standard deviation is .67 points, that between trainings of one
cell .32. Plain digits show no difference between such cells. The whole takes 3 min 2 to 6 s on 2
CPU cores with a cold compilation cache, all controls included. Seeds 0 to 2: test accuracy 92.8 to
93.2 %, measured latency 2.1 to 5.5 % below the target.
"""

from hwnas_jax.config import Config, DataConfig, DeriveConfig, Part, RetrainConfig

config = Config(
    name="cluttered_digits",
    data=DataConfig(name="cluttered_digits", shift=1),
    derive=DeriveConfig(rule=Part("halving", {"steps": 150})),
    retrain=RetrainConfig(epochs=4),
)
