"""Single-Path NAS: the contract, counts of the same networks elsewhere, layers left out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.config import Part
from hwnas_jax.data.batches import Batch
from hwnas_jax.errors import UserError
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces import make_space
from tests.helpers import initialise, small_search
from tests.spaces import contract
from tests.spaces.passes import check_space
from tests.spaces.searches import check_search

TINY = {"width": 0.1, "stages": 1, "depth": 2, "halvings": 1, "head": 80}


def tiny(**more):
    return make_space("single_path", {**TINY, **more}, input_shape=(8, 8, 1), num_outputs=3)


def counts(table, architecture):
    operations, places = table
    standing = [
        operations[p.operation] for p in places if all(architecture[d] == o for d, o in p.when)
    ]
    return sum(o.params for o in standing), sum(o.macs for o in standing)


def test_its_networks_are_those_of_proxylessnas_of_these_kernels():
    size = {"input_shape": (224, 224, 3), "num_outputs": 1000}
    assert make_space("single_path", {}, **size).num_decisions == 2 * 21
    args = {"depth": 2}
    space, other = (make_space(name, args, **size) for name in ("single_path", "proxylessnas"))
    tables = [each.operations() for each in (space, other)]
    for row in space.random(np.random.default_rng(0), 20):
        words = [
            word if word == "skip" else f"{word[:3]}_MBConv{word[-1]}"
            for word in space.to_string(row).split("/")
        ]
        theirs = other.from_string(other.separator.join(words))
        assert counts(tables[0], row) == counts(tables[1], theirs)


def test_codecs_and_counts():
    space = tiny()
    contract.check_codecs(space)
    contract.check_counts(space)
    contract.check_tables_agree(space)


def test_supernet_is_the_network_and_can_be_searched():
    check_space(tiny())


def test_kernels_of_layers_that_are_left_out_do_not_matter():
    space = tiny().restricted({"*.expansion": ("6",)})
    layer = next(n for n, d in enumerate(space.decisions) if "0" in d.options)
    row = np.zeros(space.num_decisions, np.int32)
    row[layer] = space.decisions[layer].options.index("0")
    other = row.copy()
    other[layer - 1] = 1
    np.testing.assert_array_equal(*space.canonical(np.stack([row, other])))
    assert space.to_string(row) == space.to_string(other)
    supernet = initialise(space.supernet)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 1)), jnp.float32)
    slope = jax.jit(
        jax.value_and_grad(lambda weight, index: (supernet(x, Gates(weight, index)) ** 2).sum())
    )
    for sampled in (False, True):
        found = [slope(*contract.one_hot(space, a, sampled=sampled)) for a in (row, other)]
        np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
        assert float(jnp.abs(found[0][1][layer - 1]).max()) == 0
        assert float(jnp.abs(found[0][1][layer]).max()) > 0


@pytest.mark.parametrize("text", ["k3_e1-skip", "3x3-3/7x7-3", "skip/3x3-3"])
def test_strings_of_other_spaces_are_named(text):
    with pytest.raises(UserError, match=r"single_path|allowed are"):
        tiny().from_string(text)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"halvings": 5, "stages": 6}, "at most 3"),
        ({"stages": 7}, "equal to 6"),
        ({"thresholds": 1}, "boolean"),
    ],
)
def test_impossible_arguments_are_named(args, words):
    with pytest.raises(UserError, match=words):
        tiny(**args)


def test_scores_are_norms_of_what_an_option_adds():
    space = tiny(thresholds=True)
    supernet = initialise(space.supernet)
    found = np.asarray(space.scores(supernet))
    assert found.shape == (space.num_decisions, space.num_options)
    kernel = np.asarray(supernet.body[0].layer(0).depthwise[...])
    rim = np.ones((5, 5, 1))
    rim[1:4, 1:4] = 0
    channels = kernel.shape[-1]
    np.testing.assert_allclose(found[0, :2], [0, ((rim * kernel) ** 2).sum() / channels], rtol=1e-5)
    halves = [(kernel[..., part] ** 2).sum() / (channels // 2) for part in
              (slice(channels // 2), slice(channels // 2, None))]  # fmt: skip
    np.testing.assert_allclose(found[1, :2], [halves[0], sum(halves)], rtol=1e-5)
    assert not found[1, 2:].any()
    assert tiny().scores(supernet) is None


@pytest.mark.slow
def test_weight_steps_keep_thresholds_and_follow_the_gradient_through_the_indicators():
    space = tiny(thresholds=True)
    methods, search = small_search(
        space, search__relaxation=Part("softmax"), search__steps=10, search__warmup_steps=2,
        search__weights__decay=0.0,
    )  # fmt: skip
    state = jax.jit(search.init)(jax.random.key(0), {"macs": 1e9})
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.standard_normal((4, 8, 8, 1)), jnp.float32)
    labels = jnp.array([0, 1, 2, 0])
    batch = Batch(images, labels, jax.random.split(jax.random.key(2), 4))
    halves = {"weight": batch, "arch": batch}
    step = jax.jit(lambda s: search.weight_step(s, halves, jax.random.key(1), 1.0, None))

    def scores(state):
        return np.asarray(methods.supernet.scores(state.weights))

    warm, _ = step(state)
    np.testing.assert_array_equal(warm.params, state.params)
    assert np.abs(scores(warm) - scores(state)).max() > 0
    before = warm._replace(step=jnp.asarray(2))
    after, (_, _, norm) = step(before)
    assert float(jnp.abs(after.params - before.params).max()) > 1e-5
    np.testing.assert_allclose(
        after.params - scores(after), before.params - scores(before), atol=1e-5
    )
    assert float(norm) != float(step(before._replace(step=jnp.asarray(0)))[1][2])


@pytest.mark.slow
def test_search_meets_its_target(tmp_path):
    args = {"width": 0.1, "stages": 2, "depth": 2, "halvings": 1, "head": 160, "thresholds": True}
    check_search("single_path", tmp_path, args)
