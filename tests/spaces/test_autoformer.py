"""AutoFormer's space: the contract, DeiT-Ti, soft masks, what is drawn and what does not matter."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.errors import UserError
from hwnas_jax.nn.entangled import leading
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.transformer import MLP, Attention
from hwnas_jax.relax.base import Gates
from hwnas_jax.report.cell import plot_cell
from hwnas_jax.spaces import make_space, sum_terms
from tests.helpers import initialise
from tests.spaces import contract
from tests.spaces.passes import check_space

TINY = {
    "embeddings": "4,6", "depths": "1,2", "heads": "1,2", "ratios": "1.5,2", "head_size": 2,
    "patch": 4,
}  # fmt: skip


def tiny(**more):
    return make_space("autoformer", {**TINY, **more}, input_shape=(8, 8, 1), num_outputs=3)


def full():
    return make_space("autoformer", {}, input_shape=(224, 224, 3), num_outputs=1000)


def images(count=3):
    return jnp.asarray(np.random.default_rng(0).standard_normal((count, 8, 8, 1)), jnp.float32)


def test_deit_ti_counts_as_published():
    """5.7 M parameters; its products follow from its sizes."""
    space = full()
    row = space.from_string("-".join(["192", *["3x4"] * 12]))
    operations = space.operations()[0]
    weight = np.eye(space.num_options, dtype=np.float32)[row]
    params = sum_terms(space, {name: op.params for name, op in operations.items()}).total(weight)
    network = abstract(lambda rngs: space.network(row, rngs))
    assert params == sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))
    assert round(float(params) / 1e6, 1) == 5.7
    tokens, width = 14 * 14 + 1, 192
    block = 12 * tokens * width**2 + 2 * tokens**2 * width
    macs = 14 * 14 * 16 * 16 * 3 * width + 12 * block + width * 1000
    counted = sum_terms(space, {name: op.macs for name, op in operations.items()}).total(weight)
    assert float(counted) == pytest.approx(macs, rel=1e-6)


def test_autoformer_tiny_is_the_default():
    space = full()
    assert space.size == 3 * 3 * (2 * 2) ** 14
    assert len(np.unique(space.canonical(space.random(np.random.default_rng(0), 9)), axis=0)) == 9
    assert space.to_names(space.random(np.random.default_rng(0), 1)[0]).keys() >= {
        "embedding", "depth", "block14.heads", "block14.ratio",
    }  # fmt: skip


@pytest.mark.parametrize("pool", ["token", "mean"])
def test_codecs_and_counts(pool):
    space = tiny(pool=pool)
    contract.check_codecs(space, count=50)
    contract.check_counts(space)
    contract.check_tables_agree(space)


def test_supernet_is_the_network_and_can_be_searched():
    """Widths that are off are neither built nor counted; the others stay as they are."""
    space = tiny(embeddings="4,6,8", heads="1,2,3").restricted(
        {"embedding": ("8",), "*.heads": ("2",), "block2.heads": ("3",)}
    )
    check_space(space)
    assert not any(name.endswith("x8") or " to 8 " in name for name in space.operations()[0])
    contract.check_counts(space)


def test_only_what_is_on_is_built():
    space = tiny(pool="mean").restricted({"embedding": ("6",), "depth": ("1",), "*.heads": ("1",)})
    supernet = abstract(space.supernet)
    assert supernet.patches.positions.shape == (4, 4)
    assert supernet.attention.out.kernel.shape == (2, 4, 4)
    assert not any(word in " ".join(space.operations()[0]) for word in ("to 6", "attention 1"))


def small(module, kind, *sizes):
    """Returns the module of these sizes with the leading weights of a larger one."""
    graph, like = nnx.split(abstract(lambda rngs: kind(*sizes, rngs=rngs)))
    return nnx.merge(graph, leading(nnx.state(module), like))


def test_soft_heads_and_hidden_units_mix_outputs():
    """What follows the mask is linear, so a mixture of masks is the mixture of the outputs."""
    x = jax.random.normal(jax.random.key(0), (2, 5, 4))
    share = jnp.array([0.3, 0.7])
    for kind, sizes, count in ((Attention, [(4, 1, 2), (4, 3, 2)], 3), (MLP, [(4, 3), (4, 5)], 5)):
        largest = initialise(lambda rngs, k=kind, s=sizes[-1]: k(*s, rngs=rngs))
        narrow = sizes[0][1]
        mask = jnp.where(jnp.arange(count) < narrow, 1.0, share[1])
        options = [small(largest, kind, *size)(x) for size in sizes]
        expected = share[0] * options[0] + share[1] * options[1]
        np.testing.assert_allclose(largest(x, None, mask), expected, atol=1e-5)


def test_only_what_is_drawn_is_read():
    space = tiny(ratios="2")
    graph, state = nnx.split(initialise(space.supernet))
    row = space.from_string("4-1x2")

    def inherited(state):
        network = initialise(lambda rngs: space.network(row, rngs))
        space.inherit(network, row, nnx.merge(graph, state))
        return nnx.state(network)

    taken, pull = jax.vjp(inherited, state)
    (used,) = pull(jax.tree.map(jnp.ones_like, taken))
    spoilt = jax.tree.map(lambda leaf, use: jnp.where(use == 1, leaf, jnp.nan), state, used)
    gates = contract.one_hot(space, row, sampled=True)
    run = jax.jit(lambda state: nnx.merge(graph, state)(images(), gates))
    expected = run(state)
    assert jnp.isfinite(expected).all()
    assert sum(jnp.isnan(leaf).sum() for leaf in jax.tree.leaves(spoilt)) > 0
    np.testing.assert_array_equal(run(spoilt), expected)


def test_blocks_beyond_the_depth_do_not_matter():
    space = tiny(embeddings="4", ratios="2", depths="1,2")
    row = space.from_string("4-2x2")
    other = row.copy()
    other[-2] = 1 - other[-2]
    np.testing.assert_array_equal(space.canonical(other[None])[0], space.canonical(row[None])[0])
    assert space.to_string(other) == "4-2x2"
    supernet = initialise(space.supernet)
    terms = sum_terms(space, {name: op.macs + 1.0 for name, op in space.operations()[0].items()})

    def cost_and_output(weight, index):
        logits = supernet(images(), Gates(weight, index))
        return (logits**2).sum() + terms.total(weight)

    run = jax.jit(jax.value_and_grad(cost_and_output))
    for sampled in (True, False):
        pairs = [run(*contract.one_hot(space, r, sampled=sampled)) for r in (row, other)]
        np.testing.assert_allclose(pairs[0][0], pairs[1][0], rtol=1e-6)
        np.testing.assert_allclose(pairs[0][1][-2:], 0.0, atol=1e-4)
        assert jnp.abs(pairs[0][1][:-2]).max(1).all()


def test_the_mixture_of_canonical_forms_is_their_expectation():
    space = tiny().restricted({"block2.ratio": ("x1.5",)})
    rng = np.random.default_rng(0)
    weight = np.where(space.mask, rng.uniform(0.1, 1.0, space.mask.shape), 0.0)
    values = rng.standard_normal((space.num_decisions, space.num_options))

    def value(rows):
        return float((np.asarray(rows) * values).sum(1).prod())

    expected = 0.0
    for row in itertools.product(*(np.flatnonzero(options) for options in space.mask)):
        chance = weight[np.arange(space.num_decisions), row].prod()
        form = space.canonical(np.array([row], np.int32))[0]
        expected += chance * value(np.eye(space.num_options)[form])
    found = contract.mean_of_products(space.canonical_mixture(weight), values)
    assert found == pytest.approx(expected, rel=1e-4)


def test_only_blocks_that_are_there_are_drawn():
    space = tiny()
    names = space.to_names(space.from_string("6-2x2"))
    words = {text.get_text() for text in plot_cell(names).axes[0].texts}
    assert {"embedding", "depth", "block1.heads", "x2"} <= words
    assert not any(word.startswith("block2") for word in words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("6", "1,2 blocks"),
        ("6-1x2-1x2-1x2", "1,2 blocks"),
        ("6-1-2", "heads and ratio"),
        ("6-1x3", "allowed are x1.5, x2"),
        ("5-1x2", "allowed are 4, 6"),
    ],
)
def test_foreign_strings_are_named(text, words):
    with pytest.raises(UserError, match=words):
        tiny().from_string(text)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"patch": 3}, "patch may be 1, 2, 4, 8"),
        ({"depths": "0,1"}, "depths .* from 1"),
        ({"heads": "1,1"}, "different"),
        ({"embeddings": "4.5"}, "whole numbers"),
        ({"head_size": True}, "head_size"),
        ({"pool": "max"}, "'token' or 'mean'"),
    ],
)
def test_impossible_sizes_are_named(args, words):
    with pytest.raises(UserError, match=words):
        tiny(**args)
