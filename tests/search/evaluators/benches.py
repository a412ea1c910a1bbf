"""A bench on which networks are judged in a moment."""

import functools

import jax
import numpy as np

from hwnas_jax.data.pipeline import split_halves
from hwnas_jax.search.evaluators import Bench, Data
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import Classification
from tests.search.dense import SPACE, images


@functools.cache
def dense_bench(space=SPACE, *, batch_size=16, shift=0):
    """Three decisions of dense blocks, 96 images of three classes."""
    dataset, supernet = images(), make_supernet(space)
    halves = split_halves(len(dataset.train_targets), 0)
    data = Data(
        dataset.train_inputs, dataset.train_targets, *halves, dataset.mean, dataset.std
    )  # fmt: skip
    weights = np.asarray(supernet.init(jax.random.key(0)))
    return Bench(
        space, Classification(), data, supernet, weights, batch_size=batch_size, shift=shift
    )  # fmt: skip
