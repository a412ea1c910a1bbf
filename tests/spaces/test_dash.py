"""Kernel sizes and dilations: the contract, bad arguments, and a dilation that must be found."""

import jax
import numpy as np
import pytest

from hwnas_jax.config import Part
from hwnas_jax.cost import AnalyticModel
from hwnas_jax.data.batches import Batch
from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space
from tests.helpers import small_search
from tests.spaces import contract
from tests.spaces.passes import check_space


def space(shape=(8, 8, 1), **args):
    args = {"channels": 2, "kernels": "3,5", "dilations": "1,3", **args}
    return make_space("dash", args, input_shape=shape, num_outputs=3)


@pytest.mark.parametrize("shape", [(8, 8, 1), (1, 24, 2)])
def test_supernet_is_the_network_and_can_be_searched(shape):
    check_space(space(shape))


@pytest.mark.parametrize("shape", [(8, 8, 1), (1, 24, 2)])
def test_codecs_and_tables(shape):
    contract.check_codecs(space(shape))
    contract.check_tables_agree(space(shape))


def test_counts():
    contract.check_counts(space((32, 32, 1)), extra=3)
    contract.check_counts(space((1, 64, 2)), extra=3)


def test_the_papers_options_are_the_defaults():
    images = make_space("dash", {}, input_shape=(32, 32, 3), num_outputs=10)
    assert images.decisions[0].options[:5] == ("k3d1", "k3d3", "k3d7", "k3d15", "k5d1")
    assert images.num_options == 16
    sequences = make_space("dash", {}, input_shape=(1, 1000, 4), num_outputs=10)
    assert sequences.num_options == 20 and sequences.decisions[0].options[-1] == "k19d15"


@pytest.mark.parametrize(
    ("args", "shape", "word"),
    [
        ({"kernels": "3,4"}, (8, 8, 1), "odd"),
        ({"kernels": "3,x"}, (8, 8, 1), "3,x"),
        ({"dilations": "0"}, (8, 8, 1), "from 1"),
        ({"channels": 0}, (8, 8, 1), "channels"),
        ({}, (40, 1, 3), "one pixel high"),
    ],
)
def test_impossible_arguments_are_named(args, shape, word):
    with pytest.raises(UserError, match=word):
        space(shape, **args)


def test_foreign_strings_are_named():
    with pytest.raises(UserError, match="6 choices"):
        space().from_string("k3d1-k3d1")
    with pytest.raises(UserError, match="k5d3"):
        space().from_string("-".join(["k3d1"] * 5 + ["k5d4"]))


def pulses(rng, count, length, near, far):
    """Two pulses in noise; the class is how far apart they stand."""
    x = 0.1 * rng.standard_normal((count, 1, length, 1))
    labels = rng.integers(2, size=count)
    for row, label in enumerate(labels):
        start = rng.integers(length - far)
        x[row, 0, [start, start + (far if label else near)], 0] += 1.0
    return x.astype(np.float32), labels.astype(np.int32)


@pytest.mark.slow
def test_a_long_dilation_is_found():
    """Pulses 15 and 13 apart: only taps 15 apart tell them from each other in one layer."""
    length, near, far, batch = 64, 13, 15, 32
    own = make_space(
        "dash", {"channels": 4, "kernels": "3", "dilations": "1,3,7,15"},
        input_shape=(1, length, 1), num_outputs=2,
    )  # fmt: skip
    methods, search = small_search(
        own, search__relaxation=Part("gumbel_softmax"), search__steps=300, search__warmup_steps=60,
        search__temperature__start=1.0, search__temperature__end=1.0,
        budget=Part("fixed_weight", {"weight": 0.0}),
    )  # fmt: skip
    state = jax.jit(search.init)(jax.random.key(0), {"macs": 1e9})
    model = AnalyticModel.count(own)
    step = jax.jit(lambda state, batches: search.step(state, batches, model), donate_argnums=0)
    rng, keys = np.random.default_rng(0), jax.random.split(jax.random.key(1), batch)
    for _ in range(300):
        halves = {
            half: Batch(*pulses(rng, batch, length, near, far), keys) for half in ("weight", "arch")
        }
        state, info = step(state, halves)
    share = methods.probabilities(state.params)
    # The first convolutions see the sequence whole; there the long dilation must have won.
    names = own.to_names(share.argmax(-1))
    assert "k3d15" in list(names.values())[:2], names
    assert float(info.weight_metric) > 0.8
