"""The accuracy of a network with the supernet's weights."""

import jax
import numpy as np
import pytest
from flax import nnx
from hwnas_jax.search.derive import make_supernet_accuracy

from hwnas_jax.config import Config, override
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.relax.base import Gates
from hwnas_jax.search import Target, make_search
from tests.search.dense import SPACE, DenseModel, images


@pytest.mark.parametrize("architecture", [[0, 1, 2], [2, 2, 0]])
def test_supernet_accuracy_is_that_of_the_mixture_of_one(architecture):
    config, data = override(Config(), search__batch_size=16), images()
    search = make_search(
        SPACE, DenseModel(), Target("latency_ms", 2.0), config.search, config.target
    )
    weights = 3 * search.init(jax.random.key(1)).weights
    rows = np.arange(5, 55)
    accuracy = make_supernet_accuracy(SPACE, data, DenseModel(), config)
    found = accuracy(weights, np.array(architecture, np.int32), rows)

    supernet = nnx.merge(nnx.graphdef(abstract(SPACE.supernet)), search.unravel(weights))
    scaled = (data.train_inputs[rows[:48]] / 255.0 - data.mean) / data.std
    gates = Gates(np.eye(3, dtype=np.float32)[architecture])
    scores = np.asarray(supernet(scaled.astype(np.float32), gates))
    expected = (scores.argmax(-1) == data.train_targets[rows[:48]]).mean()
    assert found == pytest.approx(expected)
    assert 0 < found < 1
