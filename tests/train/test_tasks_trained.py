"""Small networks trained for tasks of positions and of sequences, and what is told of them."""

import jax
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.config import Config, override
from hwnas_jax.data import Dataset
from hwnas_jax.registry import Part
from hwnas_jax.runs.retrain import train
from hwnas_jax.tasks import make_task
from tests.tasks.dense_data import DENSE


class Pointwise(nnx.Module):
    """Looks at one position at a time; with `pooled`, at the mean over all."""

    def __init__(self, channels, outputs, pooled, rngs):
        self.first = nnx.Linear(channels, 16, rngs=rngs)
        self.last = nnx.Linear(16, outputs, rngs=rngs)
        self.pooled = pooled

    def __call__(self, x):
        x = jax.nn.tanh(self.first(x))
        return self.last(x.mean((1, 2)) if self.pooled else x)


def trained(dataset, part, *, pooled=False, epochs=60):
    config = override(
        Config(), task=part, parallel__devices=1, retrain__batch_size=8, retrain__epochs=epochs,
        retrain__learning_rate=0.3, retrain__weight_decay=0.0, retrain__validation_fraction=0.25,
    )  # fmt: skip
    channels, outputs = dataset.input_shape[-1], dataset.num_outputs
    return train(lambda rngs: Pointwise(channels, outputs, pooled, rngs), dataset, config)


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("segmentation", {"mean_iou", "pixel_accuracy"}),
        ("dense_regression", {"relative_l2", "mse"}),
    ],
)
def test_tasks_of_positions_are_learned(name, metrics):
    """Of the data, classes and values are functions of the input at the same position."""
    dataset = DENSE[name]
    found, task = trained(dataset, Part(name)), make_task(Part(name), dataset)
    chance = task.chance(dataset.test_targets, dataset.num_outputs)
    assert task.better(found.test_metric, chance) and task.better(found.validation_metric, chance)
    assert found.test_metrics.keys() == metrics
    assert found.test_metrics[task.metric] == found.test_metric
    assert found.test_right is None
    shape = dataset.test_targets[found.examples[0].numbers].shape
    assert found.examples[0].predicted.shape == shape


def test_sequences_are_classified_and_judged_by_macro_f1():
    """Rising, falling and level series, a few of the last kind."""
    draws = np.random.default_rng(0)

    def series(count):
        classes = draws.choice(3, count, p=[0.45, 0.45, 0.1]).astype(np.int32)
        slopes = np.float32([1, -1, 0])[classes, None, None]
        noise = 0.2 * draws.standard_normal((count, 20, 2)).astype(np.float32)
        return slopes + noise, classes

    dataset = Dataset("slopes", *series(96), *series(60), ("up", "down", "level"))
    assert dataset.input_shape == (1, 20, 2)
    found = trained(dataset, Part("classification", {"metric": "macro_f1"}), pooled=True, epochs=12)
    assert found.test_metric == found.test_metrics["macro_f1"] > 0.95
    assert found.test_right is None
    assert found.examples[0].inputs.shape[1:] == (1, 20, 2)
