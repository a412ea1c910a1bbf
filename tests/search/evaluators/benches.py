"""A bench on which networks are judged in a moment."""

import functools

import jax
import numpy as np

from hwnas_jax.data.pipeline import Augmentation, split_halves
from hwnas_jax.search.evaluators import Bench, Data
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import Classification
from tests.search.dense import SPACE

COUNT, CLASSES = 96, 3


@functools.cache
def dense_bench(*, shift=0):
    """Three decisions of dense blocks; 96 images of three classes, each brighter than the last."""
    rng = np.random.default_rng(0)
    targets = np.arange(COUNT, dtype=np.int32) % CLASSES
    inputs = rng.integers(0, 80, (COUNT, *SPACE.input_shape)) + 60 * targets[:, None, None, None]
    scaled = inputs.reshape(-1, 1) / 255.0
    data = Data(
        inputs.astype(np.uint8), targets, *split_halves(COUNT, 0),
        scaled.mean(0).astype(np.float32), scaled.std(0).astype(np.float32),
    )  # fmt: skip
    supernet = make_supernet(SPACE)
    weights = np.asarray(supernet.init(jax.random.key(0)))
    return Bench(
        SPACE, Classification(), data, supernet, weights, batch_size=16,
        augmentation=Augmentation(shift),
    )  # fmt: skip
