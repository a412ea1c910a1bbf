"""Bits per layer: the contract, what the bits cost, and bad arguments."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.cost import AnalyticModel, load_cost_model, predict_architectures
from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.spaces import make_space
from tests.spaces import contract
from tests.spaces.passes import check_space


def space(shape=(4, 4, 1), **args):
    args = {"channels": 2, "stages": 2, "weights": "1,2,4", "activations": "2,3", **args}
    return make_space("edmips", args, input_shape=shape, num_outputs=3)


SKIPPING = {"weights": "0,2,32", "activations": "1,32"}


@pytest.mark.parametrize("args", [{}, SKIPPING])
def test_supernet_is_the_network_and_can_be_searched(args):
    # The batch is small, or rounding noise carries some value over the edge between two levels. It
    # is odd, since normalisation turns two values into plus and minus one, which lie on an edge.
    check_space(space(**args), batch=3)


@pytest.mark.parametrize("args", [{}, SKIPPING])
def test_codecs_and_counts(args):
    contract.check_codecs(space(**args))
    contract.check_tables_agree(space(**args))
    contract.check_counts(space((8, 8, 1), blocks=2, stem_stride=2, **args), extra=3)


def stored_bits(own, architecture):
    """Bits of a network's state, leaf by leaf: kernels by their layer's precision."""
    network = abstract(lambda rngs: own.network(architecture, rngs))
    bits = iter(own.bits(own.canonical(architecture[None])[0]).reshape(-1, 2, 2)[:, :, 0])
    total = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))) * 32
    for block in network.blocks:
        for conv, own_bits in zip(block.convs, next(bits), strict=False):
            total += math.prod(conv.kernel.shape) * (own_bits - 32)
            total += 32 * conv.kernel.shape[-1] if own_bits < 32 else 0
    for kernel in (network.stem.kernel, network.head.linear.kernel):
        total += math.prod(kernel.shape) * (8 - 32) + 32 * kernel.shape[-1]
    return total


@pytest.mark.parametrize("args", [{"blocks": 2}, SKIPPING])
def test_bits_are_counted_as_the_networks_hold_them(args, tmp_path):
    own = space((8, 8, 1), **args)
    model = AnalyticModel.count(own)
    model.save(tmp_path / "model.npz", own)
    model = load_cost_model(tmp_path / "model.npz", own)
    rows = own.random(np.random.default_rng(0), 20)
    predicted = predict_architectures(model, rows, own.num_options)
    for row, operations, kib in zip(
        rows, predicted["bit_operations"], predicted["size_kib"], strict=True
    ):
        expected, height = 64 * (8 * 8 * 9 * 2 + 4 * 3), 8
        for block, sizes in zip(own.bits(row).reshape(-1, 2, 2), own.blocks(), strict=True):
            for (inputs, outputs, stride), (w, a) in zip(sizes, block, strict=True):
                height //= stride
                if block[1][0]:
                    expected += w * a * 9 * inputs * outputs * height**2
        assert operations == expected
        assert kib == pytest.approx(stored_bits(own, row) / 8192, rel=1e-6)


def test_between_architectures_bit_operations_are_their_expectation():
    own = space(stages=1, **SKIPPING)
    model = AnalyticModel.count(own)
    rng = np.random.default_rng(0)
    share = rng.random((own.num_decisions, own.num_options)) * own.mask
    share /= share.sum(axis=1, keepdims=True)
    rows = own.enumerate()
    chance = share[np.arange(own.num_decisions), rows].prod(axis=1)
    each = predict_architectures(model, rows, own.num_options)
    for metric in ("bit_operations", "size_kib", "macs", "params"):
        found = float(model.predict(jnp.asarray(share, jnp.float32))[metric])
        assert found == pytest.approx((chance * each[metric]).sum(), rel=1e-5), metric


def test_options_that_are_off_cost_nothing():
    own = space(**SKIPPING).restricted({"*.conv2.weights": ("0",), "*.activations": ("32",)})
    contract.check_tables_agree(own)
    contract.check_codecs(own)
    assert not any(name.startswith("conv w2a32") for name in own.operations()[0])


def test_uniform_bits_and_strings():
    own = space()
    row = own.uniform(2, 3)
    assert own.to_string(row) == "w2a3-w2a3-w2a3-w2a3"
    with pytest.raises(UserError, match="'3'"):
        own.uniform(3, 3)
    skipping = space(**SKIPPING)
    row = skipping.from_string("skip-w2a32-w32a1")
    assert skipping.to_string(row) == "skip-w2a32-w32a1"
    np.testing.assert_allclose(
        skipping.active(jnp.asarray(np.eye(3)[row], jnp.float32)), [0, 0, 1, 0, 1, 1, 1, 1]
    )


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("w2a3-w2a3", "4 convolutions"),
        ("skip-w2a3-w2a3", "such as w2a3"),
        ("w2a3-w2a3-w2a3-w3a3", "'3'"),
        ("nor_conv", "4 convolutions"),
    ],
)
def test_foreign_strings_are_named(text, word):
    with pytest.raises(UserError, match=word):
        space().from_string(text)


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({"channels": 0}, "channels"),
        ({"weights": "2,x"}, "2,x"),
        ({"weights": "0"}, "more than 0"),
        ({"weights": "2,2"}, "different"),
        ({"activations": "0,2"}, "1 to 8 or 32"),
        ({"weights": "16"}, "0 to 8 or 32"),
        ({"ends": 12}, "ends"),
        ({"stem_stride": 3}, "stem_stride"),
        ({"stages": 4}, "at least 8 pixels"),
    ],
)
def test_impossible_arguments_are_named(args, word):
    with pytest.raises(UserError, match=word):
        space(**args)
