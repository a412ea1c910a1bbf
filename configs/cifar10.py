"""CIFAR-10 at the standard size of NAS-Bench-201 (C=16, N=5), for a GPU or a TPU.

    hwnas search cifar10

Fifty epochs of search and two hundred of retraining with the published schedules (Dong and Yang,
2020). Wall time and result are not measured: no accelerator was at hand when this was written.
"""

from hwnas_jax.config import (
    Config,
    DataConfig,
    Part,
    ProfileConfig,
    RetrainConfig,
    SearchConfig,
    SpaceConfig,
    WeightsConfig,
)

_STEPS_PER_EPOCH = 25_000 // 64

config = Config(
    name="cifar10",
    space=SpaceConfig(args={"channels": 16, "cells": 5}),
    data=DataConfig(name="cifar10", shift=4, flip=True),
    profile=ProfileConfig(networks=200, batch_size=64, rounds=50),
    search=SearchConfig(
        steps=50 * _STEPS_PER_EPOCH,
        warmup_steps=10 * _STEPS_PER_EPOCH,
        steps_per_dispatch=_STEPS_PER_EPOCH,
        checkpoint_every=_STEPS_PER_EPOCH,
        weights=WeightsConfig(learning_rate=0.025),
        relaxation=Part("sampled_path", {"learning_rate": 0.003}),
    ),
    retrain=RetrainConfig(
        epochs=200,
        batch_size=256,
        learning_rate=0.1,
        weight_decay=5e-4,
        steps_per_dispatch=175,
    ),
)
