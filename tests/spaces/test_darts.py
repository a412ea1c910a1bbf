"""The cells of DARTS: the contract, genotypes, the published count, and training's extras."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.errors import UserError
from hwnas_jax.nn.darts import AuxiliaryHead, CellShape, FixedCell
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.normalisation import supernet_norm
from hwnas_jax.nn.platform import platform
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces import make_space, sum_terms
from hwnas_jax.spaces.darts import EDGES
from tests.helpers import initialise
from tests.spaces import contract
from tests.spaces.passes import check_space

V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)


def tiny(shape=(8, 8, 1), classes=3, **args):
    args = {"channels": 2, "cells": 3, "auxiliary": 0.0, "drop_path": 0.0, **args}
    return make_space("darts", args, input_shape=shape, num_outputs=classes)


def published():
    args = {"network_channels": 36, "network_cells": 20}
    return make_space("darts", args, input_shape=(32, 32, 3), num_outputs=10)


def parameters(module):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def test_supernet_is_the_network_and_can_be_searched():
    check_space(tiny())


def test_codecs_and_counts():
    space = tiny()
    contract.check_codecs(space, count=50)
    contract.check_counts(space, contract.covering(space)[:3])
    contract.check_tables_agree(space)


def test_the_published_network_has_3_3_million_parameters():
    """The paper's count leaves out the auxiliary head, whose 476,426 are trained beside it."""
    space = published()
    row = space.from_string(V2)
    values = {name: float(op.params) for name, op in space.operations()[0].items()}
    weight = np.eye(space.num_options, dtype=np.float32)[row]
    assert round(float(sum_terms(space, values).total(weight))) == 3_349_342
    network = abstract(lambda rngs: space.network(row, rngs))
    head = 576 * 128 + 2 * 128 + 4 * 128 * 768 + 2 * 768 + 768 * 10 + 10
    assert parameters(network) == 3_349_342 + head


def test_genotypes_of_the_paper_are_read():
    space = published()
    row = space.from_string(V2)
    names = space.to_names(row)
    assert (names["normal/5"], names["normal/5<-2"]) == ("0+2", "dil_conv_3x3")
    assert (names["reduce/5"], names["reduce/5<-1"]) == ("1+2", "max_pool_3x3")
    text = space.to_string(row)
    assert text == (
        "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
        "('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1), ('skip_connect', 0), "
        "('dil_conv_3x3', 2)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), "
        "('max_pool_3x3', 1), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), "
        "('skip_connect', 2), ('max_pool_3x3', 1), ('skip_connect', 2)], "
        "reduce_concat=range(2, 6))"
    )
    np.testing.assert_array_equal(space.from_string(text), row)


def test_networks_that_differ_on_edges_left_out_are_one():
    space = tiny()
    row = space.from_string(V2)
    other = row.copy()
    other[EDGES.index((5, 1))] = 3
    assert (other != row).any()
    np.testing.assert_array_equal(space.canonical(other[None])[0], row)
    restricted = space.restricted({"*": ("max_pool*",)})
    drawn = restricted.canonical(restricted.random(np.random.default_rng(0), 20))
    assert restricted.mask[np.arange(len(row)), drawn].all()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3', 0)", "node 5 of the normal cell"),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)", "node 5 of the normal cell"),
        ("('dil_conv_3x3', 2)", "('none', 2)", "'none'"),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x4', 2)", "dil_conv_3x3"),
        (", ('dil_conv_3x3', 2)", "", "two edges into each"),
        ("normal_concat=[2, 3, 4, 5]", "normal_concat=[4, 5]", "no genotype"),
        ("Genotype", "Cell", "no genotype"),
        (V2, "|skip_connect~0|", "no genotype"),
        (V2, "64-41414-1_02_333", "no genotype"),
    ],
)
def test_other_strings_are_named(old, new, words):
    with pytest.raises(UserError, match=words):
        tiny().from_string(V2.replace(old, new))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"channels": 3, "network_channels": 4}, "multiple of twice"),
        ({"channels": 6, "partial": 2}, "multiple of twice"),
        ({"cells": 2}, "cells = 2 must be greater than or equal to 3"),
        ({"drop_path": 1.0}, "less than or equal to 0.99"),
        ({"network_channels": 5}, "multiple of 2"),
        ({"shape": (3, 8, 1)}, "at least 4x4"),
    ],
)
def test_impossible_sizes_are_named(args, words):
    with pytest.raises(UserError, match=words):
        tiny(**args)


def test_partial_channels_run_drawn_as_mixed_and_cannot_be_inherited():
    space = tiny(channels=4, partial=2)
    supernet = initialise(space.supernet)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 1)), jnp.float32)
    row = space.from_string(V2)
    run = jax.jit(lambda gates: supernet(x, gates))
    with platform("gpu"):  # plain convolutions compile sooner
        drawn = run(contract.one_hot(space, row, sampled=True))
        mixed = run(contract.one_hot(space, row, sampled=False))
    np.testing.assert_allclose(mixed, drawn, atol=1e-4)
    for other in (space, tiny(network_cells=4)):
        with pytest.raises(UserError, match="cannot inherit"):
            other.inherit(None, row, supernet)


def test_every_option_that_counts_has_a_gradient():
    """With every pair possible, all have; drawn, only the pairs and what they keep."""
    space = tiny()
    supernet = initialise(space.supernet)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 1)), jnp.float32)
    row = space.from_string(V2)

    @jax.jit
    def slopes(weight, index):
        return jax.grad(lambda w: (supernet(x, Gates(w, index)) ** 2).sum())(weight)

    uniform = jnp.asarray(space.mask / space.mask.sum(1, keepdims=True), jnp.float32)
    weight = contract.one_hot(space, row, sampled=True).weight
    with platform("gpu"):  # plain convolutions compile sooner
        mixed = np.asarray(slopes(uniform, None))
        drawn = np.asarray(slopes(weight, jnp.asarray(row)))
    assert np.isfinite(mixed).all()
    assert (mixed != 0)[space.mask].all()
    active = np.zeros(space.num_decisions, bool)
    for kind in (0, 1):
        active[[kind * 17 + edge for edge in space.kept(row, kind)]] = True
        active[kind * 17 + 14 : kind * 17 + 17] = True
    assert active.sum() == 2 * (8 + 3)
    np.testing.assert_array_equal((drawn != 0).any(1), active)
    assert ((drawn != 0).sum(1) == active).all()


def test_dropped_edges_keep_the_mean_and_skips_stay():
    shape = CellShape(False, (4, 4, 6), (4, 4, 6), 2)
    names = ["max_pool_3x3", "skip_connect"] * 4
    edges = [(node, source) for node in range(2, 6) for source in (0, 1)]
    cell = FixedCell(shape, edges, names, supernet_norm(), nnx.Rngs(0))
    rng = np.random.default_rng(0)
    one, other = (jnp.asarray(rng.standard_normal((1, 4, 4, 6)), jnp.float32) for _ in range(2))
    images = [jnp.tile(x, (4000, 1, 1, 1)) for x in (one, other)]
    keys = jax.random.split(jax.random.key(0), 4000)
    values = np.asarray(jax.jit(cell)(*images, keys, 0.25))
    whole = np.asarray(cell(one, other))
    skipped = np.tile(np.asarray(cell.last(other)), (1, 1, 1, 4))
    np.testing.assert_allclose(values.mean(0), whole[0], atol=0.15)
    for node in range(4):
        own = slice(2 * node, 2 * node + 2)
        dropped = np.abs(values[..., own] - skipped[..., own]).max((1, 2, 3)) < 1e-4
        assert 0.22 < dropped.mean() < 0.28
        kept = skipped[..., own] + (whole - skipped)[..., own] / 0.75
        np.testing.assert_allclose(
            values[~dropped][..., own], np.tile(kept, (int((~dropped).sum()), 1, 1, 1)), atol=1e-4
        )


def test_a_network_in_training_has_two_answers_and_drops_more_and_more():
    space = tiny(auxiliary=0.4, drop_path=0.5)
    network = initialise(lambda rngs: space.network(space.from_string(V2), rngs))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 1)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 4)

    @jax.jit
    def heads(progress):
        (one, own), (factor, other) = network.in_training(x, keys, progress)
        return one, own, factor, other

    network.eval()
    plain = network(x)
    one, own, factor, other = heads(0.0)
    assert (float(one), round(float(factor), 6)) == (1.0, 0.4)
    assert other.shape == own.shape == (4, 3)
    np.testing.assert_allclose(own, plain, atol=1e-4)
    assert float(jnp.abs(heads(1.0)[1] - plain).max()) > 1e-2
    np.testing.assert_array_equal(network(x), plain)


def test_the_auxiliary_head_averages_5x5_windows_three_apart_on_8x8():
    head = AuxiliaryHead(2, 3, lambda features, rngs: lambda x: x, nnx.Rngs(0))
    x = np.abs(np.random.default_rng(0).standard_normal((2, 8, 8, 2))).astype(np.float32)
    windows = [x[:, i : i + 5, j : j + 5].mean((1, 2)) for i in (0, 3) for j in (0, 3)]
    narrow = np.maximum(np.stack(windows, 1) @ np.asarray(head.narrow.kernel[0, 0]), 0)
    kernel = np.asarray(head.kernel[...]).reshape(4, 128, 768)
    wide = np.maximum(np.einsum("bnc,nco->bo", narrow, kernel), 0)
    np.testing.assert_allclose(head(jnp.asarray(x)), head.linear(wide), rtol=1e-4, atol=1e-4)
    assert head(jnp.ones((2, 1, 1, 2))).shape == (2, 3)
