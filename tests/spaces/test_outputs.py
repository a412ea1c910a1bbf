"""Spaces whose networks have dense outputs or several, and that read sequences."""

import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.nn.outputs import Output
from hwnas_jax.spaces import SPACES, from_spec, make_space
from tests.spaces import contract

DENSE = (Output(2, dense=True),)
SEVERAL = (Output(1, dense=True), Output(3))
IMAGES, SEQUENCES = (9, 8, 1), (1, 12, 2)

SIZES = {
    "nasbench201": {"channels": 2, "cells": 1},
    "bnas": {"channels": 2, "cells": 1},
    "darts": {"channels": 2, "cells": 3, "auxiliary": 0.0},
    "transnas_cell": {"channels": 2, "macro": "41", "stem_halvings": 1},
    "complete_graph": {"channels": 2, "nodes": 4, "stages": 2},
    "dash": {"channels": 2, "kernels": "3,5", "dilations": "1"},
    "transnas_macro": {
        "channels": 2, "least": 2, "most": 2, "doublings": 2, "halvings": 2, "stem_halvings": 1,
    },
    "nasbench_macro": {"width": 0.1, "depth": 1, "halvings": 2},
    "fbnet": {"width": 0.1, "depth": 1, "halvings": 2, "head": 8},
    "proxylessnas": {"width": 0.1, "depth": 1, "halvings": 2, "head": 8},
    "dna": {"width": 0.1, "depth": 1, "halvings": 2, "head": 8},
}  # fmt: skip
ABLE = [name for name in SPACES if SPACES[name].takes_outputs]
READERS = [name for name in SPACES if SPACES[name].takes_sequences]
# These are built by the code of spaces that run here.
COUNTED = ("fbnet", "proxylessnas", "dna", "bnas")
RUN = [name for name in ABLE if name not in COUNTED]
# Its head counts the additions of a bias, as its paper does.
COUNTS_BIAS = ("nasbench201", "bnas", "dash", "complete_graph")


def make(name, outputs, shape=IMAGES):
    count = sum(output.channels for output in outputs)
    return make_space(name, SIZES[name], input_shape=shape, num_outputs=count, outputs=outputs)


def some(space):
    return space.canonical(space.random(np.random.default_rng(1), 1))


def extra(name, outputs):
    return sum(o.channels for o in outputs if not o.dense) if name in COUNTS_BIAS else 0


@pytest.mark.parametrize("outputs", [DENSE, SEVERAL], ids=["dense", "several"])
@pytest.mark.parametrize("name", ABLE)
def test_networks_and_tables_have_the_outputs_that_were_asked_for(name, outputs):
    space = make(name, outputs)
    assert from_spec(space.spec).spec == space.spec
    assert from_spec(space.spec).outputs == outputs
    row = some(space)
    contract.check_counts(space, row, extra=extra(name, outputs))
    contract.check_graph(space, row[0])


@pytest.mark.parametrize("name", [name for name in READERS if name in RUN])
def test_networks_for_sequences_have_kernels_one_pixel_high(name):
    space = make(name, DENSE, SEQUENCES)
    contract.check_counts(space, some(space))
    contract.check_shapes(space, some(space)[0])


@pytest.mark.parametrize("name", RUN)
def test_a_supernet_is_the_network_with_all_its_outputs(name):
    sampled = name in ("transnas_macro", "dash")
    space = make(name, SEVERAL, (8, 9, 1))
    contract.check_same_outputs(space, some(space)[0], sampled=sampled)


@pytest.mark.parametrize("name", [name for name in SPACES if name not in ABLE])
def test_other_spaces_say_which_ones_are_able(name):
    for outputs, wanted in ((DENSE, "an output for every position"), (SEVERAL, "several tasks")):
        count = sum(output.channels for output in outputs)
        with pytest.raises(UserError, match=f"no networks for {wanted}.*these have.*nasbench201"):
            make_space(name, {}, input_shape=(32, 32, 3), num_outputs=count, outputs=outputs)


@pytest.mark.parametrize("name", [name for name in SPACES if name not in READERS])
def test_other_spaces_say_which_ones_read_sequences(name):
    with pytest.raises(UserError, match=r"no networks for sequences.*these have: .*dash"):
        make_space(name, {}, input_shape=(1, 64, 3), num_outputs=4)


@pytest.mark.parametrize("name", READERS)
def test_sequences_lie(name):
    with pytest.raises(UserError, match="one pixel high"):
        make(name, DENSE, (40, 1, 3))


@pytest.mark.parametrize("name", [name for name in READERS if name != "dash"])
def test_sequences_are_long_enough_to_be_halved(name):
    with pytest.raises(UserError, match=r"halve|sequences of at least"):
        make(name, DENSE, (1, 1, 3))
