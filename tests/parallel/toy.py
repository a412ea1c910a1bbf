"""A search that compiles in seconds, whose batch statistics replicas may average."""

import functools

import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config, override
from hwnas_jax.nn.normalisation import BatchStatistics
from hwnas_jax.runs.gradient_search import search_architecture
from tests.search.dense import DenseModel, DenseSpace, DenseSupernet, images


class NormalisedSupernet(DenseSupernet):
    """The dense supernet with batch statistics after every decision."""

    def __init__(self, num_outputs, rngs, axis_name):
        super().__init__(num_outputs, rngs)
        self.norm = BatchStatistics(axis_name=axis_name)

    def __call__(self, x, gates):
        x = x.reshape(len(x), -1)
        for d, mixed in enumerate(self.mixed):
            index = None if gates.index is None else gates.index[d]
            x = self.norm(mixed(x, gates.weight[d], index))
        return self.head(x)


class NormalisedSpace(DenseSpace):
    def supernet(self, rngs, *, axis_name=None, rematerialise=False):
        return NormalisedSupernet(self.num_outputs, rngs, axis_name)


SPACE = NormalisedSpace()


def settings(**changes) -> Config:
    """Returns the config of twelve steps, of which one is warm-up, in four calls."""
    options = {
        "search__steps": 12, "search__warmup_steps": 1, "search__steps_per_dispatch": 3,
        "search__batch_size": 16, "search__checkpoint_every": 3,
        "search__weights__learning_rate": 0.02, "data__flip": True,
        "parallel__sync_batch_statistics": True, "parallel__initialization_timeout_s": 60,
    }  # fmt: skip
    return override(Config(), **{**options, **changes})


def searched(config: Config, cost_model=None, **options):
    """Returns what a search of the toy space leaves behind."""
    target = Target("latency_ms", 3.0)
    model = DenseModel() if cost_model is None else cost_model
    return search_architecture(SPACE, images(), model, target, config, **options)


def end_of(result) -> dict[str, np.ndarray]:
    """Returns what a search ended with."""
    state = result.state
    arrays = {"step": state.step, "params": state.params, "weights": state.weights}
    return {name: np.asarray(array) for name, array in arrays.items()}


@functools.cache
def alone(relaxation="sampled_path"):
    """What one process of four devices ends with, its data on the devices, uninterrupted."""
    return end_of(searched(settings(parallel__devices=4, search__relaxation__name=relaxation)))


def check_same_end(found, expected):
    """Checks that two searches ended alike, up to float tolerance, after all of their steps."""
    assert int(found["step"]) == int(expected["step"]) == 12
    for name in ("params", "weights"):
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-3, atol=2e-4)
    assert np.abs(expected["params"]).max() > 0.05  # the architecture has moved
