"""MnasNet's hierarchy: the contract, the published network, choices that do not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.nn.hierarchical import width_mask
from hwnas_jax.spaces import make_space, sum_terms
from tests.helpers import initialise
from tests.spaces import contract
from tests.spaces.passes import check_space

TINY = {"blocks": 2, "width": 0.2, "depth": 1, "halvings": 2, "head": 40}


def tiny(**more):
    return make_space("mnasnet", {**TINY, **more}, input_shape=(8, 8, 1), num_outputs=3)


def full():
    return make_space("mnasnet", {}, input_shape=(224, 224, 3), num_outputs=1000)


A1 = (
    "sepconv_3_0_none_1.0_0|mbconv6_3_0_identity_1.0_0|mbconv3_5_0.25_identity_1.0_0|"
    "mbconv6_3_0_identity_1.0_0|mbconv6_3_0.25_identity_1.0_0|mbconv6_5_0.25_identity_1.0_0|"
    "mbconv6_3_0_none_1.0_0"
)


def test_mnasnet_a1_counts_as_published():
    """3.9 M parameters and 312 M multiply-accumulates."""
    space = full().restricted({"*.filters": ("0.75", "1.25"), "*.op": ("conv",)})
    row = space.from_string(A1)
    operations, places = space.operations()
    standing = [operations[p.operation] for p in places if all(row[d] == o for d, o in p.when)]
    assert round(sum(o.params for o in standing) / 1e6, 1) == 3.9
    assert abs(sum(o.macs for o in standing) / 312e6 - 1) < 0.02


def test_the_size_is_the_product_of_the_choices():
    per_block = 4 * 2 * 2 * 3 * 3
    assert full().size == per_block**7 * 3**5 * 2**2


def test_codecs_and_counts():
    space = tiny()
    contract.check_codecs(space)
    contract.check_counts(space)
    contract.check_tables_agree(space)


def test_supernet_is_the_network_and_can_be_searched():
    check_space(tiny())


def test_skips_of_single_layers_do_not_matter():
    space = tiny()
    rows = space.random(np.random.default_rng(0), 50)
    rows[:, 5] = 0
    assert space.counts(0)[0] == 1
    others = rows.copy()
    others[:, 3] = (others[:, 3] + 1) % 3
    np.testing.assert_array_equal(space.canonical(rows), space.canonical(others))
    supernet = initialise(space.supernet)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 1)), jnp.float32)
    run = jax.jit(lambda gates: supernet(x, gates))
    operations = space.operations()[0]
    terms = sum_terms(space, {name: float(op.macs + 1) for name, op in operations.items()})
    for pair in zip(rows[:3], others[:3], strict=True):
        gates = [contract.one_hot(space, row, sampled=False) for row in pair]
        np.testing.assert_allclose(run(gates[0]), run(gates[1]), atol=1e-6)
        assert float(terms.total(gates[0].weight)) == float(terms.total(gates[1].weight))


def test_options_that_are_off_are_neither_built_nor_counted():
    space = tiny().restricted({"*.op": ("conv", "mbconv*"), "*.kernel": ("5",)})
    names = set(space.operations()[0])
    assert not any(word in f" {name}" for name in names for word in (" mbconv", " conv", "nel 5"))
    supernet = initialise(space.supernet)
    assert supernet.first[0].allowed == ((1,), (0,), (0, 1))
    contract.check_counts(space)


def test_width_masks_are_expected_widths():
    mask = width_mask(jnp.array([0.2, 0.3, 0.5]), (1, 2, 4), 5)
    np.testing.assert_allclose(mask, [1.0, 0.8, 0.5, 0.5, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("k3_e1-skip", "2 blocks"),
        ("mbconv6_3_0_identity_1.0_0", "2 blocks"),
        ("mbconv9_3_0_identity_1.0_0|mbconv6_3_0_identity_1.0_0", "Did you mean 'mbconv"),
        ("conv_3_0_none_1.0_-1|conv_3_0_none_1.0_0", "allowed are 0, \\+1"),
    ],
)
def test_strings_of_other_spaces_are_named(text, words):
    with pytest.raises(UserError, match=words):
        tiny().from_string(text)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"blocks": 8}, "equal to 7"),
        ({"halvings": 5, "blocks": 4}, "halved 4 times"),
        ({"activation": "gelu"}, "allowed are"),
    ],
)
def test_impossible_sizes_are_named(args, words):
    with pytest.raises(UserError, match=words):
        tiny(**args)
