"""NAS-Bench-201: codec, published counts, and three ways to run one cell."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.platform import platform
from hwnas_jax.relax.base import Gates, one_hot_gates
from hwnas_jax.spaces import from_spec, make_space
from hwnas_jax.spaces.core.choices import Choices, Decision
from hwnas_jax.spaces.core.four_nodes import EDGES, active_edges
from hwnas_jax.spaces.nasbench201 import OPERATIONS, NasBench201
from tests.helpers import initialise
from tests.spaces import contract
from tests.spaces.passes import check_space

INDEX_0 = (
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+"
    "|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
)


def small(channels=4, cells=1, size=8):
    return make_space(
        "nasbench201", {"channels": channels, "cells": cells},
        input_shape=(size, size, 3), num_outputs=5,
    )  # fmt: skip


STANDARD = make_space(
    "nasbench201", {"channels": 16, "cells": 5}, input_shape=(32, 32, 3), num_outputs=10
)


def test_every_string_round_trips():
    seen = set()
    for architecture in STANDARD.enumerate():
        text = STANDARD.to_string(architecture)
        np.testing.assert_array_equal(STANDARD.from_string(text), architecture)
        names = STANDARD.to_names(architecture)
        np.testing.assert_array_equal(STANDARD.from_names(names), architecture)
        seen.add(text)
    assert len(seen) == STANDARD.size == 15_625


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (INDEX_0.replace("nor_conv_1x1", "nor_conv_1x2"), "nor_conv_1x1"),
        (INDEX_0.replace("~1", "~3", 1), "form"),
        (INDEX_0[:-3], "form"),
        (INDEX_0.replace("+", ""), "form"),
        ("", "form"),
    ],
)
def test_malformed_strings_are_named(text, word):
    with pytest.raises(UserError, match=word):
        STANDARD.from_string(text)


def counted(space, architecture, attribute):
    operations, places = space.operations()
    return sum(
        place.count * getattr(operations[place.operation], attribute)
        for place in places
        if all(architecture[decision] == option for decision, option in place.when)
    )


@pytest.mark.parametrize("text", ["a" * 20000, "|a~0|+" * 20000, "~" * 20000, "|" * 20000])
def test_a_long_text_is_refused_at_once_and_not_repeated(text):
    started = time.perf_counter()
    with pytest.raises(UserError, match=r"0000 characters|is no nasbench201 cell") as caught:
        STANDARD.from_string(text)
    assert time.perf_counter() - started < 5 and len(str(caught.value)) < 300


def test_the_usual_spellings_of_an_operation_are_understood():
    spelled = {
        "nor_conv_3x3": ("conv_3x3", "conv3x3", "Conv 3x3", "nor-conv-3x3"),
        "nor_conv_1x1": ("conv_1x1", "conv1x1"), "avg_pool_3x3": ("avgpool3x3", "Avg_Pool-3x3"),
        "none": ("zero", "Zeroize", "NONE"), "skip_connect": ("skip", "identity", "skip-connect"),
    }  # fmt: skip
    for name, others in spelled.items():
        for other in others:
            text = f"|{other}~0|+|none~0|{other}~1|+|none~0|none~1|{other}~2|"
            np.testing.assert_array_equal(
                STANDARD.from_string(text), STANDARD.from_string(text.replace(other, name))
            )
    for unknown in ("conv_5x5", "max_pool_3x3", "nor", ""):
        with pytest.raises(UserError, match=r"unknown option of 1<-0 .*allowed are none"):
            STANDARD.from_string(f"|{unknown}~0|+|none~0|none~1|+|none~0|none~1|none~2|")


def test_a_hyphen_before_a_number_is_a_sign():
    space = Choices("signs", (Decision("shift", ("-1", "0")),))
    with pytest.raises(UserError, match="unknown option of shift '1'"):
        space.from_names({"shift": "1"})


def test_an_architecture_is_also_the_numbers_of_its_options():
    architecture = STANDARD.from_string(INDEX_0)
    np.testing.assert_array_equal(STANDARD.from_numbers(architecture.tolist()), architecture)
    wrong = ((5, "got 5"), (-1, "got -1"), (10**400, "got 1000"))
    for numbers, word in (([0] * 5, "5 numbers"), *(([n, *[0] * 5], word) for n, word in wrong)):
        with pytest.raises(UserError, match=word):
            STANDARD.from_numbers(numbers)


def test_published_counts_of_index_0():
    """15.65 MFLOPs and 0.129306 M parameters: Dong and Yang, 2020."""
    architecture = STANDARD.from_string(INDEX_0)
    assert counted(STANDARD, architecture, "params") == 129_306
    assert round(counted(STANDARD, architecture, "macs") / 1e6, 2) == 15.65


def test_parameters_are_those_of_the_network():
    space, rng = small(), np.random.default_rng(0)
    for architecture in space.random(rng, 5):
        network = abstract(lambda rngs, a=architecture: space.network(a, rngs))
        leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
        assert counted(space, architecture, "params") == sum(leaf.size for leaf in leaves)


def test_index_0_of_the_published_table(shared):
    with np.load(shared / "nb201_latency_help.npz") as table:
        names = [OPERATIONS[i] for i in table["ops"][0]]
        edges = [f"{a}<-{b}" for a, b in EDGES]
    assert STANDARD.to_string(STANDARD.from_names(dict(zip(edges, names, strict=True)))) == INDEX_0


def brute_force_active(architecture):
    """Follows every path from the input to the output."""
    is_open = {pair: OPERATIONS[o] != "none" for pair, o in zip(EDGES, architecture, strict=True)}
    paths = [[(3, 0)], [(1, 0), (3, 1)], [(2, 0), (3, 2)], [(1, 0), (2, 1), (3, 2)]]
    used = {pair for path in paths if all(is_open[p] for p in path) for pair in path}
    return [pair in used for pair in EDGES]


@given(st.tuples(*[st.integers(0, 4)] * 6))
@settings(max_examples=200, deadline=None)
def test_active_edges_are_those_on_open_paths(architecture):
    weight = np.eye(5, dtype=np.float32)[list(architecture)]
    runs = active_edges(weight) * (np.array(architecture) != 0)
    assert [bool(value) for value in runs] == brute_force_active(architecture)


def test_canonical_form_closes_what_does_not_run():
    every = STANDARD.enumerate()
    canonical = STANDARD.canonical(every)
    np.testing.assert_array_equal(STANDARD.canonical(canonical), canonical)
    for row in np.random.default_rng(0).integers(len(every), size=300):
        runs = brute_force_active(every[row])
        expected = [option if run else 0 for option, run in zip(every[row], runs, strict=True)]
        assert canonical[row].tolist() == expected


class Short(NasBench201):
    """Two stages, so that fewer shapes are compiled."""

    num_stages = 2


def short():
    return Short(input_shape=(8, 8, 1), num_outputs=3, channels=2, cells=1)


def test_supernet_is_the_network_and_can_be_searched():
    check_space(short())


def test_codecs_and_counts():
    space = small(channels=2)
    contract.check_codecs(space)
    contract.check_counts(space, extra=5)
    contract.check_tables_agree(space)


@pytest.mark.parametrize("sampled", [False, True])
def test_features_are_the_outputs_of_the_stages(sampled):
    """Of the supernet at one-hot gates, against the stand-alone network run part by part."""
    space, row = short(), np.array([3, 1, 4, 2, 3, 3], np.int32)
    supernet = initialise(space.supernet)
    network = initialise(lambda rngs: space.network(row, rngs))
    space.inherit(network, row, supernet)
    network.train()
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    gates = one_hot_gates(row, 5, sampled=sampled)
    with platform("gpu"):
        found, outputs = jax.jit(lambda x: (supernet.features(x, gates), supernet(x, gates)))(x)
        first = network.stages[0](network.stem(x))
        second = network.stages[1](network.reductions[0](first))
        expected = [first, second, network.head([first, second])]
    for ours, theirs in zip([*found, outputs], expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(supernet.head(found), outputs, atol=1e-5)


def test_gates_mix_linearly_on_one_edge():
    """With one edge soft into the output, the logits before the head mix: checked on the cell."""
    space = small()
    supernet = initialise(space.supernet)
    cell = supernet.stages[0]
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 4))
    weight = jnp.asarray(np.eye(5, dtype=np.float32)[[3, 3, 3, 3, 3, 3]])
    soft = weight.at[3].set(jnp.array([0.4, 0.9, 0.3, 1.5, 0.7]))  # several options: their sum
    parts = [cell(x, Gates(weight.at[3].set(jnp.eye(5)[o]))) for o in range(5)]
    # The first option is none: that part is what the other edges bring.
    rest = parts[0]
    expected = rest + sum(share * (part - rest) for share, part in zip(soft[3], parts, strict=True))
    np.testing.assert_allclose(cell(x, Gates(soft)), expected, rtol=1e-4, atol=1e-5)


def test_odd_images_and_one_channel():
    size = {"channels": 2, "cells": 2}
    space = make_space("nasbench201", size, input_shape=(7, 5, 1), num_outputs=3)
    network = initialise(lambda rngs: space.network(np.array([3, 1, 4, 2, 0, 3]), rngs))
    network.eval()
    assert network(jnp.ones((2, 7, 5, 1))).shape == (2, 3)


def test_spec_rebuilds_the_space():
    assert from_spec(small().spec).spec == small().spec


@pytest.mark.parametrize(
    ("name", "args", "word"),
    [
        ("nasbench2001", {}, "nasbench201"),
        ("nasbench201", {"channel": 4}, "channels"),
        ("nasbench201", {"cells": 0}, "cells = 0 must be greater than or equal to 1"),
    ],
)
def test_bad_spaces_are_named(name, args, word):
    with pytest.raises(UserError, match=word):
        make_space(name, args, input_shape=(8, 8, 1), num_outputs=10)


def test_bad_architectures_are_named():
    space = small()
    names = space.to_names(np.zeros(6, np.int32))
    with pytest.raises(UserError, match="leaves open: 3<-2"):
        space.from_names({k: v for k, v in names.items() if k != "3<-2"})
    with pytest.raises(UserError, match="nor_conv_3x3"):
        space.from_names({**names, "3<-2": "nor_conv_3x4"})
    with pytest.raises(ValueError, match="shape"):
        space.check(np.zeros(5))
    with pytest.raises(ValueError, match="indices"):
        space.check(np.full(6, 5))


def test_used_is_what_the_output_is_computed_from():
    rng = np.random.default_rng(0)
    for row in STANDARD.random(rng, 100):
        reads = {3}
        for node in (2, 1):
            later = [target for (target, source), o in zip(EDGES, row, strict=True)
                     if source == node and o and target in reads]  # fmt: skip
            reads |= {node} if later else set()
        expected = [o if target in reads else 0 for (target, _), o in zip(EDGES, row, strict=True)]
        np.testing.assert_array_equal(STANDARD.used(row[None])[0], expected)
        np.testing.assert_array_equal(STANDARD.canonical(STANDARD.used(row[None])),
                                      STANDARD.canonical(row[None]))  # fmt: skip


def relations(text):
    """The counts of the cell whose edges are `text`: - none, s skip, 1 and 3 convolutions, p."""
    return STANDARD.relations(np.array([["-s13p".index(letter) for letter in text]], np.int32))[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("s---p-", "---p--"),  # node 1 is the input
        ("-s---3", "---3--"),
        ("1-s--3", "1---3-"),  # node 2 is node 1
        ("sp---1", "s-p--1"),
        ("p-1---", "------"),  # no path to the output
        ("s--pp-", "-s-p-p"),  # one pooling, added to itself
    ],
)
def test_cells_that_a_compiler_makes_equal_have_equal_relations(one, other):
    np.testing.assert_array_equal(relations(one), relations(other))


@pytest.mark.parametrize(
    ("text", "running"),
    [
        ("ppp333", [0, 0, 0, 3, 2]),  # both poolings of the input are one
        ("333333", [0, 0, 0, 6, 0]),  # each convolution has weights of its own
        ("s3p3p1", [0, 0, 1, 2, 1]),
        ("s-----", [0, 0, 0, 0, 0]),
        ("---s--", [0, 1, 0, 0, 0]),
    ],
)
def test_relations_begin_with_the_operations_that_run(text, running):
    np.testing.assert_array_equal(relations(text)[:5], running)


def test_relations_tell_what_follows_and_what_stands_beside():
    follows, beside, added = relations("1-3p--")[15:90].reshape(3, 5, 5)
    pairs = lambda table: {tuple(pair) for pair in np.argwhere(table)}  # noqa: E731
    assert (pairs(follows), pairs(beside), pairs(added)) == (set(), set(), set())
    follows, beside, added = relations("1-3p-s")[15:90].reshape(3, 5, 5)
    assert pairs(follows) == {(2, 3), (3, 1)}
    assert pairs(beside) == {(2, 4)}
    assert pairs(added) == {(1, 4)}


def test_canonical_mixture_is_the_distribution_of_canonical_forms():
    space = NasBench201(input_shape=(8, 8, 1), num_outputs=10, channels=2, cells=1)
    rng = np.random.default_rng(0)
    weight = rng.dirichlet(np.ones(space.num_options), size=space.num_decisions)
    factors = rng.standard_normal((space.num_decisions, space.num_options))

    def multilinear(rows):
        return (rows * factors).sum(axis=-1).prod(axis=-1)

    every = space.enumerate()
    edges = np.arange(space.num_decisions)
    chances = weight[edges, every].prod(axis=1)
    values = multilinear(np.eye(space.num_options)[space.canonical(every)])
    ((_, coefficient, rows),) = space.canonical_mixture(jnp.asarray(weight, jnp.float32))
    np.testing.assert_allclose(
        (coefficient * multilinear(np.asarray(rows))).sum(), (chances * values).sum(), rtol=1e-5
    )
    assert len(coefficient) < 20
