"""Single-Path NAS: the contract, counts of the same networks elsewhere, layers left out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.relax import Gates
from hwnas_jax.spaces import make_space
from tests.helpers import initialise
from tests.spaces import contract

TINY = {"width": 0.1, "depth": 1, "halvings": 1, "head": 80}


def tiny(**more):
    return make_space("single_path", {**TINY, **more}, input_shape=(8, 8, 1), num_classes=3)


def counts(space, architecture):
    operations, places = space.operations()
    standing = [
        operations[p.operation] for p in places if all(architecture[d] == o for d, o in p.when)
    ]
    return sum(o.params for o in standing), sum(o.macs for o in standing)


def test_its_networks_are_those_of_proxylessnas_of_these_kernels():
    size = {"input_shape": (224, 224, 3), "num_classes": 1000}
    space, other = make_space("single_path", {}, **size), make_space("proxylessnas", {}, **size)
    assert space.num_decisions == 2 * 21
    for row in space.random(np.random.default_rng(0), 2):
        words = [
            word if word == "skip" else f"{word[:3]}_MBConv{word[-1]}"
            for word in space.to_string(row).split("/")
        ]
        theirs = other.from_string(other.separator.join(words))
        assert counts(space, row) == counts(other, theirs)


def test_codecs_and_counts():
    space = tiny()
    contract.check_codecs(space)
    contract.check_counts(space)
    contract.check_tables_agree(space)


@pytest.mark.slow
def test_supernet_is_the_network():
    contract.check_supernet_equals_network(tiny(), count=50)


def test_kernels_of_layers_that_are_left_out_do_not_matter():
    space = tiny()
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


@pytest.mark.parametrize("text", ["k3_e1-skip", "3x3-3/3x3-3/7x7-3"])
def test_strings_of_other_spaces_are_named(text):
    with pytest.raises(UserError, match="single_path"):
        tiny().from_string(text)


@pytest.mark.parametrize(
    ("args", "words"), [({"halvings": 5}, "at most 3"), ({"depth": 5}, "to 4")]
)
def test_impossible_arguments_are_named(args, words):
    with pytest.raises(UserError, match=words):
        tiny(**args)
