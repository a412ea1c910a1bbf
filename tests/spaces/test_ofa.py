"""Once-for-All: the contract, the published networks' counts, weights shared, image sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces import make_space, sum_terms
from tests.helpers import initialise
from tests.spaces import contract
from tests.spaces.passes import check_space

# The ends of the published list by parameters and by products: kernels, expansions, depths, counts.
LARGE = (
    "77777755575757777775", "44664666666464666666", "44444", 7359136, 496381472,
)  # fmt: skip
SMALL = (
    "33353355533335575353", "33433334334333333343", "22222", 3423464, 122972112,
)  # fmt: skip

# One unit that has squeeze-excitation and hard swish.
TINY = {
    "width": 0.1, "units": "4", "depths": "1,2", "kernels": "3,5", "expansions": "1,2",
    "halvings": 1,
}  # fmt: skip


def tiny(**more):
    return make_space("ofa", {**TINY, **more}, input_shape=(8, 8, 1), num_outputs=3)


def full(**args):
    return make_space("ofa", args, input_shape=(224, 224, 3), num_outputs=1000)


def published(space, kernels, expansions, depths):
    """Returns the architecture of the lists in which Once-for-All's networks are published."""
    names = {}
    for unit, depth in enumerate(depths):
        names[f"unit{unit + 1}.depth"] = str(depth)
        for layer in range(4):
            name = f"unit{unit + 1}.layer{layer + 1}"
            names[f"{name}.kernel"] = str(kernels[4 * unit + layer])
            names[f"{name}.expansion"] = str(expansions[4 * unit + layer])
    return space.from_names(names)


def counts(space, architecture, table):
    operations, places = table
    standing = [
        operations[p.operation] for p in places if all(architecture[d] == o for d, o in p.when)
    ]
    return sum(o.params for o in standing), sum(o.macs for o in standing)


@pytest.mark.parametrize("network", [LARGE, SMALL])
def test_the_ends_of_the_published_list_count_as_published(network):
    space = full()
    *lists, params, macs = network
    assert counts(space, published(space, *lists), space.operations()) == (params, macs)


def test_published_networks_count_as_published(shared):
    """Parameters and products of networks as others measured them, to the last one."""
    found = np.load(shared / "ofa_accuracy_dynast.npz")
    space = full()
    table = space.operations()
    for row in np.random.default_rng(0).choice(len(found["d"]), 300, replace=False):
        network = published(space, found["ks"][row], found["e"][row], found["d"][row])
        assert counts(space, network, table) == (found["params"][row], found["macs"][row])


def test_the_published_size():
    """Per unit 9^2 + 9^3 + 9^4 choices, as the paper counts them; the rest is equal networks."""
    space = full()
    assert [d.name for d in space.decisions[:3]] == [
        "unit1.depth", "unit1.layer1.kernel", "unit1.layer1.expansion"
    ]  # fmt: skip
    assert space.num_decisions == 5 * (1 + 2 * 4)
    one = full(units="1")
    rows = one.random(np.random.default_rng(0), 100_000)
    assert len(np.unique(one.canonical(rows), axis=0)) <= 9**2 + 9**3 + 9**4
    assert len(np.unique(one.canonical(one.enumerate()), axis=0)) == 9**2 + 9**3 + 9**4


def test_codecs_and_counts():
    space = tiny(units="1,2", resolutions="4,8")
    contract.check_codecs(space)
    contract.check_counts(space)
    contract.check_tables_agree(space)


def test_supernet_is_the_network_and_can_be_searched():
    check_space(tiny())


@pytest.mark.parametrize("sampled", [False, True])
def test_a_size_is_the_supernet_at_images_of_that_size(sampled):
    sizes = {"depths": "1", "kernels": "3", "expansions": "1"}
    space, plain = tiny(**sizes, resolutions="4,8,12"), tiny(**sizes)
    supernet, other = initialise(space.supernet), initialise(plain.supernet)
    nnx.update(other, nnx.state(supernet))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 1)), jnp.float32)
    run, rest = jax.jit(lambda g: supernet(x, g)), np.zeros(3, np.int32)
    for option, size in enumerate((4, 8, 12)):
        gates = contract.one_hot(space, np.array([option, *rest]), sampled=sampled)
        smaller = jax.image.resize(x, (4, size, size, 1), "linear")
        expected = other(smaller, contract.one_hot(plain, rest, sampled=sampled))
        np.testing.assert_allclose(run(gates), expected, atol=1e-4)
        network = space.network(np.array([option, *rest]), nnx.Rngs(0))
        space.inherit(network, np.array([option, *rest]), supernet)
        network.train()
        np.testing.assert_allclose(network(x), expected, atol=1e-4)


def test_layers_that_are_left_out_do_not_matter():
    """Neither to the output nor to the cost nor to any gradient."""
    space = tiny().restricted({"*.expansion": ("2",)})
    idle = slice(3, 5)
    row = np.zeros(space.num_decisions, np.int32)
    assert space.decisions[0].name == "unit1.depth" and space.depths[0] == 1
    other = row.copy()
    other[3] = 1
    np.testing.assert_array_equal(*space.canonical(np.stack([row, other])))
    assert space.to_string(row) == space.to_string(other)
    supernet = initialise(space.supernet)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 1)), jnp.float32)
    terms = sum_terms(space, {name: op.macs + 1.0 for name, op in space.operations()[0].items()})

    def value(weight, index):
        return (supernet(x, Gates(weight, index)) ** 2).sum()

    costs, slope_of_cost = zip(
        *(jax.value_and_grad(terms.total)(jnp.eye(2)[a]) for a in (row, other)), strict=True
    )
    assert costs[0] == costs[1]
    assert not slope_of_cost[0][idle].any()
    assert slope_of_cost[0][1].all()
    for sampled in (False, True):
        run = jax.jit(jax.value_and_grad(value))
        found = [run(*contract.one_hot(space, a, sampled=sampled)) for a in (row, other)]
        np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
        assert not found[0][1][idle].any()
        assert found[0][1][1].any()


def test_the_canonical_mixture_is_the_mean_over_architectures():
    space = tiny(units="1,2", resolutions="4,8")
    rng = np.random.default_rng(0)
    share = rng.dirichlet(np.ones(2), space.num_decisions)
    values = rng.uniform(0.5, 1.5, share.shape)
    every = space.enumerate()
    chance = share[np.arange(space.num_decisions), every].prod(1)
    forms = space.canonical(every)
    expected = (chance * values[np.arange(space.num_decisions), forms].prod(1)).sum()
    found = contract.mean_of_products(
        space.canonical_mixture(jnp.asarray(share, jnp.float32)), values
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_options_that_are_off_are_neither_built_nor_counted():
    off = {"*.kernel": ("5",), "resolution": ("8",), "unit1.depth": ("1",)}
    space = tiny(units="1,2", resolutions="4,8").restricted(off)
    assert not any("k5" in name or "8x8x1" in name for name in set(space.operations()[0]) - {
        "resize to 4 8x8x1"})  # fmt: skip
    contract.check_counts(space)
    contract.check_codecs(space)
    supernet = abstract(space.supernet)
    assert supernet.units[0].first.allowed == ((0, 0, 0), (0, 1, 0))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"resolutions": "6,8"}, "multiples of 4"),
        ({"resolutions": "4,8", "units": "1,2,3", "halvings": 3}, "at least 8"),
        ({"resolutions": "8,8"}, "different"),
        ({"kernels": "3,4"}, "odd"),
        ({"depths": "0,1"}, "from 1"),
        ({"units": "5,6"}, "from 1 to 5"),
        ({"width": 0}, "greater than 0"),
        ({"halvings": 4, "units": "1,2,3,4,5"}, "may be at most 3"),
    ],
)
def test_impossible_arguments_are_named(args, words):
    with pytest.raises(UserError, match=words):
        tiny(**args)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("k3_e1-skip", "the form is '4:k3e1|k3e1'"),
        ("8:k3e1|k3e1-k5e2-k3e1", "layers of unit 2"),
        ("8:k3e1|k3e9", "allowed are 1, 2"),
        ("12:k3e1|k3e1", "'12': allowed are 4, 8"),
        ("k3e1|k3e1", "the form is"),
    ],
)
def test_strings_of_other_spaces_are_named(text, words):
    with pytest.raises(UserError, match=words):
        tiny(units="1,2", resolutions="4,8").from_string(text)
