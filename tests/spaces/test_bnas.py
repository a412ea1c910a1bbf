"""Binary cells: the contract, what they store, and bad arguments."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.cost import AnalyticModel
from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.normalisation import supernet_norm
from hwnas_jax.nn.platform import platform
from hwnas_jax.nn.quantised import BinaryConv
from hwnas_jax.relax import Gates
from hwnas_jax.spaces import BNAS, make_space
from hwnas_jax.spaces.core.four_nodes import EDGES
from tests.spaces import contract
from tests.spaces.passes import check_space

ALL_FIVE = "|{0}~0|+|{0}~0|{0}~1|+|{0}~0|{0}~1|{0}~2|"


def space(shape=(8, 8, 1), **args):
    return make_space("bnas", {"channels": 2, "cells": 1, **args}, input_shape=shape, num_outputs=3)


class Short(BNAS):
    """Two stages, so that fewer shapes are compiled."""

    num_stages = 2


@pytest.mark.parametrize("args", [{}, {"projected": True}, {"binary": False}])
def test_supernet_is_the_network_and_can_be_searched(args):
    check_space(Short(input_shape=(8, 8, 1), num_outputs=3, channels=2, cells=1, **args))


@pytest.mark.parametrize("args", [{}, {"projected": True}, {"binary": False}])
def test_codecs_and_counts(args):
    own = space(**args)
    contract.check_codecs(own)
    contract.check_counts(own, extra=3)
    contract.check_tables_agree(own)


def test_a_binary_network_stores_a_bit_per_weight():
    """Against the leaves of the built network: kernels at a bit, a scale a channel, the rest 32."""
    own = space((8, 8, 3), channels=4, cells=2)
    row = own.from_string(ALL_FIVE.format("bin_conv_5x5"))
    network = abstract(lambda rngs: own.network(row, rngs))
    whole = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))
    edges = [edge for stage in network.stages for cell in stage.layers for edge in cell.edges]
    convs = edges + [conv for r in network.reductions for conv in (r.first, r.second)]
    latent = sum(math.prod(conv.kernel.shape) for conv in convs)
    bits = latent + 32 * (whole - latent + sum(conv.kernel.shape[-1] for conv in convs))
    weight = jnp.asarray(np.eye(5)[row], jnp.float32)
    found = AnalyticModel.count(own).predict(weight)
    assert float(found["size_kib"]) == pytest.approx(bits / 8192, rel=1e-6)
    assert float(found["params"]) == whole
    full = sum(32 * 32 * op for op in (8 * 8 * 27 * 4, 16 * 3 + 3))
    binary = 2 * 6 * 25 * (64 * 16 + 16 * 64 + 4 * 256)
    binary += 9 * (16 * (32 + 64) + 4 * (128 + 256))
    assert float(found["bit_operations"]) == pytest.approx(full + binary, rel=1e-6)


def test_full_precision_has_no_bits_to_count():
    assert "size_kib" not in AnalyticModel.count(space(binary=False)).metrics


def test_projections_are_trained_and_not_stored():
    sizes = [
        [float(AnalyticModel.count(own).predict(weight)[name]) for name in ("params", "size_kib")]
        for own in (space(), space(projected=True))
        for weight in [jnp.asarray(np.eye(5)[own.from_string(ALL_FIVE.format("bin_conv_5x5"))])]
    ]
    assert sizes[1][0] == sizes[0][0] + 3 * 6 * 25 + 2 * 2 * 9
    assert sizes[1][1] == sizes[0][1]


def test_values_between_layers_are_signs():
    conv = BinaryConv(4, 4, 3, supernet_norm(), nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 4)), jnp.float32)
    found = np.asarray(conv(x))[:, 1:-1, 1:-1] / np.abs(conv.kernel[...]).mean((0, 1, 2))
    np.testing.assert_allclose(found, np.round(found), atol=1e-4)
    assert (np.round(found) % 2 == 0).all()  # 36 signs add up to an even number


@pytest.mark.parametrize("args", [{"projected": True}, {"binary": False}])
def test_partial_channels_are_those_of_a_cell_by_hand(args):
    """Drawn, mixed and by hand: the served channels of each edge, the others, shuffled."""
    own = Short(input_shape=(8, 8, 1), num_outputs=3, channels=4, cells=1, partial=2, **args)
    cells = own.mixed_stage(4, nnx.Rngs(0), axis_name=None, rematerialise=False)
    x = np.random.default_rng(0).standard_normal((3, 8, 8, 4)).astype(np.float32)
    row = np.array([2, 0, 3, 4, 1, 2])
    weight = jnp.asarray(np.eye(5, dtype=np.float32)[row])
    with platform("gpu"):  # plain convolutions compile sooner
        drawn = jax.jit(lambda x: cells(x, Gates(weight, jnp.asarray(row))))(x)
        mixed = jax.jit(lambda x: cells(x, Gates(weight)))(x)
        nodes = [jnp.asarray(x), 0, 0, 0]
        for edge, ((target, source), option) in enumerate(zip(EDGES, row, strict=True)):
            operation = own.cell_operations[option].build(2, 2, 1, supernet_norm(), nnx.Rngs(0))
            nnx.update(operation, cells.weights_of(0, edge, option))
            value = jax.jit(operation)(nodes[source][..., :2])
            joined = jnp.concatenate([value, nodes[source][..., 2:]], -1)
            nodes[target] += joined[..., [0, 2, 1, 3]]
    np.testing.assert_allclose(drawn, nodes[-1], atol=1e-4)
    np.testing.assert_allclose(mixed, nodes[-1], atol=1e-4)


def test_partial_channels_cannot_be_inherited():
    own = space(partial=2)
    network = abstract(lambda rngs: own.network(np.zeros(6, int), rngs))
    with pytest.raises(UserError, match="one in 2 channels only"):
        own.inherit(network, np.zeros(6, int), abstract(own.supernet))


def test_what_is_no_binary_cell_is_named():
    with pytest.raises(UserError, match="bin_conv_3x3"):
        space().from_string(ALL_FIVE.format("nor_conv_3x3"))
    with pytest.raises(UserError, match="the form is"):
        space().from_string("|none~0|")
    with pytest.raises(UserError, match="boolean"):
        space(binary=1)
    with pytest.raises(UserError, match="projected is for binary"):
        space(binary=False, projected=True)
    with pytest.raises(UserError, match="4x4"):
        space((2, 2, 1))
    with pytest.raises(UserError, match=r"partial = 4 must divide .*channels = 2"):
        space(partial=4)
