"""The complete graph: the contract, paths, and a planted graph that must be found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from hwnas_jax.config import Part
from hwnas_jax.cost import AnalyticModel
from hwnas_jax.data.batches import Batch
from hwnas_jax.errors import UserError
from hwnas_jax.nn.platform import platform
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.complete_graph import OPTIONS
from tests.helpers import initialise, small_search
from tests.spaces import contract
from tests.spaces.passes import check_space


def space(shape=(8, 8, 1), classes=3, **args):
    return make_space(
        "complete_graph", {"channels": 2, "nodes": 4, "stages": 2, **args},
        input_shape=shape, num_outputs=classes,
    )  # fmt: skip


def test_supernet_is_the_network_and_can_be_searched():
    check_space(space())


def test_codecs_and_counts():
    contract.check_codecs(space())
    contract.check_counts(space(), extra=3)
    contract.check_tables_agree(space())


def test_several_options_of_an_edge_mean_their_sum():
    """Gates that sum to more than one, on an edge into the last node, against each option alone."""
    own = space()
    supernet = initialise(own.supernet)
    rows = np.full(own.num_decisions, OPTIONS.index("none"))
    rows[own.pairs.index((3, 0))] = OPTIONS.index("conv_3x3")
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, 8, 8, 1)), jnp.float32)
    several = np.array([0.3, 0.9, 1.2, 0.0, 0.7], np.float32)

    def last_node(row):
        weight = np.eye(5, dtype=np.float32)[rows]
        weight[own.pairs.index((3, 0))] = row
        seen = []
        network = nnx.merge(*nnx.split(supernet))
        network.head = seen.append
        network(x, Gates(jnp.asarray(weight)))
        return seen[0][-1]

    with platform("gpu"):
        expected = sum(share * last_node(np.eye(5)[i]) for i, share in enumerate(several))
        np.testing.assert_allclose(last_node(several), expected, rtol=1e-4, atol=1e-5)


def paths(own, architecture):
    """Follows every path by brute force; returns the edges on those from input to output."""
    kept = [pair for pair, o in zip(own.pairs, architecture, strict=True) if o]
    found = set()

    def walk(node, used):
        if node == own.nodes - 1:
            found.update(used)
        for target, source in kept:
            if source == node:
                walk(target, [*used, (target, source)])

    walk(0, [])
    return found


@given(st.lists(st.integers(0, 4), min_size=10, max_size=10))
@settings(max_examples=150, deadline=None)
def test_feasible_and_canonical_are_about_paths(architecture):
    own, row = space(nodes=5), np.array([architecture], np.int32)
    on_path = paths(own, architecture)
    assert bool(own.feasible(row)[0]) == bool(on_path)
    closed = own.canonical(row)[0]
    assert [bool(o) for o in closed] == [pair in on_path for pair in own.pairs]
    active = own.active(jnp.asarray(np.eye(5, dtype=np.float32)[architecture]))
    runs = np.asarray(active) * (np.array(architecture) != 0)
    assert [bool(v) for v in runs] == [pair in on_path for pair in own.pairs]


def test_only_connected_graphs_are_drawn():
    own = space(nodes=3, stages=1)
    every = own.enumerate()
    assert len(every) == 4 * 25 + 4 * 4 == own.feasible(every).sum()
    assert own.feasible(own.random(np.random.default_rng(0), 300)).all()
    cut = own.restricted({"2<-*": OPTIONS[1:]})
    with pytest.raises(UserError, match="feasible"):
        cut.random(np.random.default_rng(0), 3)


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({"nodes": 1}, "equal to 2"),
        ({"nodes": 2, "stages": 3}, "3 stages"),
        ({"stages": 5, "nodes": 6}, "16 pixels"),
    ],
)
def test_impossible_sizes_are_named(args, word):
    with pytest.raises(UserError, match=word):
        space(**args)


@pytest.mark.parametrize("text", ["1<-0:conv3", "9<-0:conv_3x3", "conv_3x3"])
def test_malformed_strings_are_named(text):
    with pytest.raises(UserError, match=r"conv_3x3|edge"):
        space().from_string(text)


def coarse(rng, count):
    """Images that differ in the large, so that means over them do too."""
    large = rng.standard_normal((count, 2, 2, 3)).repeat(4, axis=1).repeat(4, axis=2)
    return jnp.asarray(large + 0.5 * rng.standard_normal((count, 8, 8, 3)), jnp.float32)


@pytest.mark.slow
def test_a_planted_sparse_graph_is_recovered():
    """A sparse graph with the supernet's own weights labels images; its edges must be found.

    The weights rest, so that there is one right answer: the planted graph labels all rightly.
    """
    own = space(shape=(8, 8, 3), classes=8, channels=8, nodes=5, stages=1)
    own = own.restricted({"*": ("conv_1x1", "avg_pool_3x3")})
    planted = own.from_string(
        "1<-0:conv_3x3 2<-1:conv_3x3 3<-0:conv_3x3 4<-2:skip_connect 4<-3:conv_3x3"
    )
    methods, search = small_search(
        own, search__relaxation=Part("gumbel_softmax"), search__steps=800, search__warmup_steps=0,
        search__temperature__start=2.0, search__temperature__end=0.3,
        search__weights__learning_rate=1e-8, search__weights__learning_rate_end=1e-8,
        search__weights__decay=0.0, budget=Part("fixed_weight", {"weight": 0.0}),
    )  # fmt: skip
    supernet, model = methods.supernet, AnalyticModel.count(own)
    state = jax.jit(search.init)(jax.random.key(4), {"macs": 1e9})
    rng, keys = np.random.default_rng(4), jax.random.split(jax.random.key(5), 64)
    gates = contract.one_hot(own, planted, sampled=False)
    # A louder head, and no class that wins by its bias alone.
    params = supernet.unravel(state.weights)
    linear = params["head"]["heads"][0]["linear"]
    linear["kernel"][...] = 5 * linear["kernel"][...]
    scores = supernet.apply(ravel_pytree(params)[0], coarse(rng, 512), gates)
    linear["bias"][...] = -scores.mean(0)
    state = state._replace(weights=ravel_pytree(params)[0])
    # So many steps take longer than to compile with the optimiser.
    options = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
    label = jax.jit(
        lambda weights, x: supernet.apply(weights, x, gates).argmax(-1).astype(jnp.int32),
        compiler_options=options,
    )
    step = jax.jit(
        lambda state, batches: search.step(state, batches, model), compiler_options=options
    )
    for _ in range(800):
        images = {half: coarse(rng, 64) for half in ("weight", "arch")}
        state, _ = step(
            state, {half: Batch(x, label(state.weights, x), keys) for half, x in images.items()}
        )
    found = own.canonical(np.asarray(state.params).argmax(-1)[None].astype(np.int32))[0]
    kept, wanted = found != 0, planted != 0
    assert (kept & wanted).sum() / max(kept.sum(), 1) > 0.9, own.to_string(found)
    assert (kept & wanted).sum() / wanted.sum() > 0.9, own.to_string(found)
