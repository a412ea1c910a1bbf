"""The cell level of TransNAS-Bench-101: the contract, its strings and its skeleton."""

import itertools

import jax
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.platform import platform
from hwnas_jax.relax.base import one_hot_gates
from hwnas_jax.spaces import make_space, sum_terms
from tests.helpers import initialise
from tests.spaces import contract
from tests.spaces.passes import Passes, check_space, check_supernet_equals_network


def tiny(shape=(8, 8, 1), classes=3, **args):
    args = {"channels": 2, "macro": "4", "stem_halvings": 0, **args}
    return make_space("transnas_cell", args, input_shape=shape, num_outputs=classes)


def full():
    return make_space("transnas_cell", {}, input_shape=(64, 64, 3), num_outputs=75)


def test_all_strings_round_trip():
    space = full()
    assert space.size == 4096
    digits = itertools.product("0123", repeat=6)
    texts = [f"64-41414-{a}_{b}{c}_{d}{e}{f}" for a, b, c, d, e, f in digits]
    rows = np.stack([space.from_string(text) for text in texts])
    assert len(np.unique(rows, axis=0)) == 4096
    assert [space.to_string(row) for row in rows] == texts
    names = space.to_names(space.from_string("64-41414-1_02_333"))
    assert names == {
        "1<-0": "skip_connect", "2<-0": "none", "2<-1": "nor_conv_1x1",
        "3<-0": "nor_conv_3x3", "3<-1": "nor_conv_3x3", "3<-2": "nor_conv_3x3",
    }  # fmt: skip


def test_supernet_is_the_network_and_can_be_searched():
    check_space(tiny())


def test_codecs_and_counts():
    space = tiny()
    contract.check_codecs(space)
    contract.check_counts(space)
    contract.check_tables_agree(space)


def test_the_other_ways_to_change_the_shape():
    check_supernet_equals_network(Passes(tiny(macro="2")), contract.covering(tiny())[:1])
    contract.check_counts(tiny(macro="1234"))


def test_features_are_the_outputs_of_the_stages():
    """A stage ends before a cell that changes the shape; against the network, cell by cell."""
    space, row = tiny(macro="14"), np.array([3, 1, 2, 3, 3, 1], np.int32)
    supernet = initialise(space.supernet)
    network = initialise(lambda rngs: space.network(row, rngs))
    space.inherit(network, row, supernet)
    network.train()
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    gates = one_hot_gates(row, 4)
    with platform("gpu"):
        found, outputs = jax.jit(lambda x: (supernet.features(x, gates), supernet(x, gates)))(x)
        made = [network.stem(x)]
        for cell in network.cells:
            made.append(cell(made[-1]))
    expected = [made[2], made[4], network.head([made[2], made[4]])]
    for ours, theirs in zip([*found, outputs], expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_parameters_of_a_cell_of_one_convolution():
    """Stem and classifier, and on the edge 3<-0 a 3x3 convolution in each of ten cells."""
    space = full()
    row = space.from_string("64-41414-0_00_300")
    widths = [64, 128, 128, 256, 256, 512]
    first = sum(9 * a * b + 2 * b for a, b in itertools.pairwise(widths))
    second = sum(9 * b * b + 2 * b for b in widths[1:])
    stem = 27 * 32 + 2 * 32 + 9 * 32 * 64 + 2 * 64
    expected = stem + first + second + 512 * 75 + 75
    network = abstract(lambda rngs: space.network(row, rngs))
    assert sum(x.size for x in jax.tree.leaves(nnx.state(network, nnx.Param))) == expected
    values = {name: float(op.params) for name, op in space.operations()[0].items()}
    total = sum_terms(space, values).total(np.eye(4, dtype=np.float32)[row])
    assert float(total) == pytest.approx(expected, rel=1e-6)


def test_edges_that_lead_nowhere_are_one_network():
    space = full()
    rows = space.enumerate()
    forms = space.canonical(rows)
    np.testing.assert_array_equal(space.canonical(forms), forms)
    dead = space.from_string("64-41414-3_00_200")
    np.testing.assert_array_equal(
        space.canonical(dead[None])[0], space.from_string("64-41414-0_00_200")
    )
    cut = [row for row in rows if not space.canonical(row[None]).any()]
    opened = rows[:, [0, 3, 4]] > 0  # from the input to the output without node 2, and with it
    paths = opened[:, 1] | (opened[:, 0] & opened[:, 2])
    paths |= ((rows[:, 1] > 0) | (opened[:, 0] & (rows[:, 2] > 0))) & (rows[:, 5] > 0)
    assert len(cut) == int((~paths).sum())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("64-1234-basic", "64-41414-1_02_333"),
        ("32-41414-1_02_333", "64-41414-1_02_333"),
        ("64-41414-1_02_334", "digits from 0 to 3"),
    ],
)
def test_strings_of_other_networks_are_named(text, words):
    with pytest.raises(UserError, match=words):
        full().from_string(text)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"channels": 3}, "multiple of 2"),
        ({"macro": "4145"}, "digits from 1 to 4"),
        ({"macro": "4434"}, "cannot be halved 4 times"),
        ({"stem_halvings": 3}, "stem_halvings = 3 must be less than or equal to 2"),
    ],
)
def test_impossible_sizes_are_named(args, words):
    with pytest.raises(UserError, match=words):
        tiny(**args)
