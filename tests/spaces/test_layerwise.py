"""Layer-wise spaces: the contract, published counts, sizes, strings, partial channels."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.layerwise import MixedLayer
from hwnas_jax.nn.mbconv import MBConv
from hwnas_jax.nn.normalisation import supernet_norm
from hwnas_jax.nn.operations import Identity
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.layers import Inverted, Stage
from hwnas_jax.spaces.core.layerwise import Layerwise
from tests.helpers import initialise
from tests.spaces import contract
from tests.spaces.passes import check_space

TINY = {
    "nasbench_macro": {"width": 0.1, "depth": 2, "halvings": 2},
    "fbnet": {"width": 0.1, "depth": 1, "halvings": 2},
    "proxylessnas": {"width": 0.1, "depth": 1, "halvings": 2, "head": 160},
    "dna": {"width": 0.1, "depth": 1, "halvings": 2, "head": 160},
}
SPACES = tuple(TINY)


def tiny(name, **more):
    return make_space(name, {**TINY[name], **more}, input_shape=(8, 8, 1), num_outputs=3)


def short(name, **more):
    """One stage: a layer that changes the shape and one that keeps it, or changes the width.

    The space of the fewest blocks has one layer more, so that equal layers are scanned.
    """
    kind = type(tiny(name))
    last = 48 if kind.stages[0].last else None
    layers = 3 if name == "nasbench_macro" else 2
    cut = type(kind.__name__, (kind,), {"stages": (Stage(24, layers, 2, last),)})
    sizes = {**TINY[name], "depth": layers, "halvings": 1, **more}
    return cut(input_shape=(8, 8, 1), num_outputs=3, **sizes)


def full(name, **args):
    return make_space(name, args, input_shape=(224, 224, 3), num_outputs=1000)


def counts(space, architecture):
    """Sums parameters and multiply-accumulates over the places that an architecture has."""
    return sums(space.operations(), architecture)


def sums(table, architecture):
    operations, places = table
    standing = [
        operations[p.operation] for p in places if all(architecture[d] == o for d, o in p.when)
    ]
    return sum(o.params for o in standing), sum(o.macs for o in standing)


def test_options_that_are_off_are_not_held():
    space = short("fbnet", activation="swish")
    some = space.restricted({"*": ("k5*",), "block2": ("skip",)})
    held = [abstract(s.supernet) for s in (space, some)]
    sizes = [sum(x.size for x in jax.tree.leaves(nnx.state(net, nnx.Param))) for net in held]
    assert sizes[1] < 0.6 * sizes[0]
    assert not any("k5" in name for name in some.operations()[0])


@pytest.mark.parametrize("name", SPACES)
def test_supernet_is_the_network_and_can_be_searched(name):
    # A smooth activation, since rounding may put a value on the other side of a kink.
    check_space(short(name, activation="swish"))


@pytest.mark.parametrize("name", SPACES)
def test_codecs_and_counts(name):
    space = tiny(name)
    contract.check_codecs(space)
    contract.check_counts(space)
    contract.check_tables_agree(space)
    contract.check_codecs(full(name), count=20)


class MobileNetV2(Layerwise):
    """MobileNetV2 1.0: one block everywhere."""

    name = "mobilenetv2"
    summary = "one network"
    stem_features, first_features = 32, 16
    stages = (
        Stage(24, 2, 2), Stage(32, 3, 2), Stage(64, 4, 2), Stage(96, 3, 1), Stage(160, 3, 2),
        Stage(320, 1, 1),
    )  # fmt: skip
    blocks: ClassVar = {"k3_e6": Inverted(3, 6)}


def test_mobilenetv2_counts_as_published():
    space = MobileNetV2(input_shape=(224, 224, 3), num_outputs=1000)
    params, macs = counts(space, np.zeros(space.num_decisions, np.int32))
    assert round(params / 1e6, 1) == 3.5
    assert round(macs / 1e6, -1) == 300
    contract.check_counts(space, np.zeros((1, space.num_decisions), np.int32))


FBNET_A = (
    "skip-k3_e3-k3_e1-skip-skip-k5_e6-k3_e3-k5_e1-k3_e3-k5_e6-k5_e3-k5_e1_g2-k5_e6-"
    "k3_e6-k5_e1_g2-k5_e3-k3_e1_g2-k5_e6-k5_e6-k5_e3-k5_e6-k5_e6"
)


def test_fbnet_a_counts_as_published():
    space = full("fbnet", head=1504)
    params, macs = counts(space, space.from_string(FBNET_A))
    assert round(params / 1e6, 1) == 4.3
    assert macs // 10**6 == 249


def test_every_network_of_nasbench_macro_counts_as_in_the_table(shared):
    table = np.load(shared / "nasbench_macro_cifar10.npz")
    space = make_space("nasbench_macro", {}, input_shape=(32, 32, 3), num_outputs=10)
    assert space.size == len(table["ops"]) == 6561
    operations = space.operations()
    found = np.array([sums(operations, row) for row in table["ops"]])
    np.testing.assert_array_equal(found[:, 0], table["params"])
    np.testing.assert_array_equal(found[:, 1], table["flops"])
    assert [tuple(d.options) for d in space.decisions] == [tuple(table["op_names"])] * 8
    best = table["ops"][table["mean_acc"].argmax()]
    assert space.to_string(best) == "22212202"
    np.testing.assert_array_equal(np.unique(table["ops"], axis=0), space.enumerate())


def test_fbnet_reads_the_rows_of_the_table(shared):
    table = np.load(shared / "fbnet_latency_help.npz")
    space = make_space("fbnet", {"halvings": 3}, input_shape=(32, 32, 3), num_outputs=100)
    assert [tuple(d.options) for d in space.decisions] == [tuple(table["op_names"])] * 22
    for row in table["ops"][:50]:
        text = "-".join(table["op_names"][row])
        np.testing.assert_array_equal(space.from_string(text), row)
    # The blocks of HW-NAS-Bench's network for CIFAR-100, from the shapes its files name.
    shapes = [(layer.shape, layer.features, layer.stride) for layer in space.every]
    assert shapes[0] == ((32, 32, 16), 16, 1)
    assert shapes[1] == ((32, 32, 16), 24, 1)
    assert shapes[5] == ((32, 32, 24), 32, 2)
    assert shapes[9] == ((16, 16, 32), 64, 2)
    assert shapes[17] == ((8, 8, 112), 184, 2)
    assert shapes[21] == ((4, 4, 184), 352, 1)


def test_skips_stand_where_shapes_allow():
    space = full("proxylessnas")
    for decision, layer in zip(space.decisions, space.every, strict=True):
        assert ("skip" in decision.options) == layer.keeps_shape
    assert sum("skip" in decision.options for decision in space.decisions) == 15
    assert space.size == 6**6 * 7**15
    assert full("dna").size == 6**19


def test_squeeze_excitation_and_activation_are_options():
    plain, excited = full("proxylessnas"), full("proxylessnas", se=True)
    row = np.zeros(plain.num_decisions, np.int32)
    added, features = 0, [(32, 1), *((layer.shape[2], 3) for layer in plain.every)]
    for width, expansion in features:
        middle, reduced = width * expansion, width // 4
        added += 2 * middle * reduced + middle + reduced
    assert counts(excited, row)[0] - counts(plain, row)[0] == added
    swish = short("proxylessnas", activation="swish")
    assert swish.args["activation"] == "swish"
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 1)), jnp.float32)
    gates = contract.one_hot(swish, np.zeros(swish.num_decisions, np.int32), sampled=True)
    outputs = [initialise(short("proxylessnas", activation=a).supernet)(x, gates)
               for a in ("swish", "relu6")]  # fmt: skip
    assert float(jnp.abs(outputs[0] - outputs[1]).max()) > 1e-3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=22, max_size=22))
def test_fbnet_strings_round_trip(row):
    space = full("fbnet")
    np.testing.assert_array_equal(space.from_string(space.to_string(np.array(row))), row)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"width": 0}, "width = 0 must be greater than 0"),
        ({"depth": 5}, "depth must be a whole number from 1 to 4"),
        ({"halvings": 4}, "may be at most 3"),
        ({"halvings": 2, "partial": 3}, "does not divide the 16 channels"),
        ({"halvings": 2, "activation": "relu7"}, "allowed are relu, relu6"),
        ({"halvings": 2, "se": 1}, "boolean"),
        ({"widht": 1.0}, "Did you mean 'width'"),
    ],
)
def test_impossible_sizes_are_named(args, words):
    with pytest.raises(UserError, match=words):
        make_space("fbnet", args, input_shape=(8, 8, 1), num_outputs=3)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("nasbench_macro", "0123", "digits"),
        ("nasbench_macro", "k3_e1-skip", "0 \\(Identity\\)"),
        ("fbnet", "k3_e1-skip", "2 blocks where 7 are wanted"),
        ("fbnet", "-".join(["k3_e9"] * 7), "'k3_e9'"),
        ("proxylessnas", "k3_e1-skip", "2 blocks where 6 are wanted"),
    ],
)
def test_strings_of_other_spaces_are_named(name, text, words):
    with pytest.raises(UserError, match=words):
        tiny(name).from_string(text)


def layer(features, partial=1):
    """A layer of three blocks, two of which share their first product and one kernel size."""
    norm = supernet_norm()
    return initialise(
        lambda r: MixedLayer(
            [
                MBConv(features, features, norm, r, expansion=3),
                MBConv(features, features, norm, r, expansion=6),
                MBConv(features, features, norm, r, kernel=5, expansion=1, groups=2,
                       always_expand=True),
                Identity(),
            ],
            partial=partial,
        )
    )  # fmt: skip


def test_a_mixture_is_the_weighted_sum_of_its_blocks():
    mixed = layer(4)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 6, 4)), jnp.float32)
    weight = jnp.array([0.9, 0.6, 0.2, 0.5])  # several options at once: their sum

    def apart(weight, x):
        return sum(w * block(x) for w, block in zip(weight, mixed.options, strict=True))

    direction = jnp.asarray(np.random.default_rng(1).standard_normal(x.shape), jnp.float32)
    expected, pull = jax.vjp(apart, weight, x)
    found, own = jax.vjp(lambda weight, x: mixed(x, weight, None), weight, x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(own(direction), pull(direction), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("index", [None, 2])
def test_partial_channels_pass_the_others_by(index):
    mixed = layer(4, partial=2)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 6, 8)), jnp.float32)
    weight = jnp.array([0.0, 0.0, 1.0, 0.0])
    drawn = None if index is None else jnp.array(index)
    found = mixed(x, weight, drawn)
    expected = np.empty_like(found)
    expected[..., 0::2] = mixed.options[2](x[..., :4])
    expected[..., 1::2] = x[..., 4:]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_supernet_of_partial_channels_is_smaller():
    def memory(partial):
        space = make_space(
            "nasbench_macro", {"width": 0.5, "depth": 2, "partial": partial, "halvings": 2},
            input_shape=(16, 16, 1), num_outputs=3,
        )  # fmt: skip
        graph, state = nnx.split(abstract(space.supernet))
        weight = jnp.asarray(space.mask / space.mask.sum(1, keepdims=True), jnp.float32)

        def loss(state, x):
            return nnx.merge(graph, state)(x, Gates(weight)).sum()

        compiled = jax.jit(jax.grad(loss)).lower(state, jnp.ones((16, 16, 16, 1))).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert memory(4) < 0.6 * memory(1)


def test_partial_weights_cannot_be_inherited():
    space = tiny("nasbench_macro", partial=4)
    row = np.zeros(space.num_decisions, np.int32)
    supernet = abstract(space.supernet)
    network = abstract(lambda rngs: space.network(row, rngs))
    with pytest.raises(UserError, match="partial"):
        space.inherit(network, row, supernet)
