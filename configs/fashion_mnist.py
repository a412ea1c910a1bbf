"""Fashion-MNIST (28x28, 10 classes), from TFDS or a folder of idx files.

hwnas search fashion_mnist
hwnas search fashion_mnist --data.name idx --data.path FOLDER
"""

from hwnas_jax.config import (
    Config,
    DataConfig,
    ProfileConfig,
    RetrainConfig,
    SearchConfig,
)

config = Config(
    name="fashion_mnist",
    data=DataConfig(name="fashion_mnist", shift=1, flip=True),
    profile=ProfileConfig(networks=60, batch_size=16, rounds=25, measure_rounds=60),
    search=SearchConfig(steps=1200, warmup_steps=480, batch_size=64, steps_per_dispatch=30),
    retrain=RetrainConfig(
        epochs=3,
        batch_size=128,
        learning_rate=0.1,
        weight_decay=5e-4,
        validation_fraction=0.05,
        steps_per_dispatch=30,
    ),
)
