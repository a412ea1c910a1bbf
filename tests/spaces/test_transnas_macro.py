"""TransNAS-Bench-101's macro level: members, strings, counts, the trellis of its supernet."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.relax.base import Gates
from hwnas_jax.search.candidates import architectures_of
from hwnas_jax.spaces import make_space, sum_terms
from tests.helpers import initialise
from tests.spaces import contract
from tests.spaces.passes import check_space

TINY = {"channels": 2, "least": 2, "most": 3, "doublings": 2, "halvings": 2, "stem_halvings": 0}


def tiny(**more):
    return make_space("transnas_macro", {**TINY, **more}, input_shape=(8, 8, 1), num_outputs=3)


def full():
    return make_space("transnas_macro", {}, input_shape=(224, 224, 3), num_outputs=75)


def published(least=4, most=6, doublings=3, halvings=4):
    """All strings of digits that the definition allows."""
    return {
        "".join(digits)
        for count in range(least, most + 1)
        for digits in itertools.product("1234", repeat=count)
        if 1 <= sum(digit in "24" for digit in digits) <= doublings
        and 1 <= sum(digit in "34" for digit in digits) <= halvings
    }


def test_there_are_3256_networks():
    space = full()
    every = space.enumerate()
    assert space.size == len(every) == len(published()) == 3256
    assert {space.to_string(row) for row in every} == {f"64-{d}-basic" for d in published()}
    drawn = space.random(np.random.default_rng(0), 200)
    assert drawn.shape == (200, 6)
    assert space.feasible(drawn).all()
    for row in drawn[:50]:
        np.testing.assert_array_equal(space.from_string(space.to_string(row)), row)


@pytest.mark.parametrize("digits", ["1234", "444111", "224333"])
def test_counts_are_those_of_the_definition(digits):
    """Products and parameters by a plain walk over the string."""
    channels, side = 64, 56
    macs = 112**2 * 9 * 3 * 32 + 56**2 * 9 * 32 * 64
    params = 9 * 3 * 32 + 2 * 32 + 9 * 32 * 64 + 2 * 64
    for digit in digits:
        after = channels * (2 if digit in "24" else 1)
        smaller = math.ceil(side / (2 if digit in "34" else 1))
        kernels = 9 * channels * after + 27 * after**2
        if (after, smaller) != (channels, side):
            kernels += channels * after
            params += 2 * after
        macs += smaller**2 * kernels
        params += kernels + 4 * 2 * after
        channels, side = after, smaller
    macs, params = macs + 75 * channels, params + 75 * channels + 75
    space = full()
    row = space.from_string(f"64-{digits}-basic")
    operations, places = space.operations()
    standing = [operations[p.operation] for p in places if all(row[d] == o for d, o in p.when)]
    assert sum(o.macs for o in standing) == macs
    assert sum(o.params for o in standing) == params
    network = abstract(lambda rngs: space.network(row, rngs))
    assert sum(x.size for x in jax.tree.leaves(nnx.state(network, nnx.Param))) == params


def test_codecs_and_counts():
    space = tiny()
    contract.check_codecs(space)
    contract.check_counts(space)
    contract.check_tables_agree(space)


def test_supernet_is_the_network_and_can_be_searched():
    check_space(tiny())


def test_what_is_drawn_and_no_member_runs_as_the_nearest():
    """Doublings and halvings beyond the most have no effect, in the supernet and in the costs."""
    space = tiny(doublings=1, halvings=1)
    names = {f"module{n + 1}": option for n, option in enumerate(("4", "4", "none"))}
    with pytest.raises(UserError, match="here 2"):
        space.from_names(names)
    outside, member = np.array([3, 3, 4], np.int32), np.array([3, 0, 4], np.int32)
    supernet = initialise(space.supernet)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 1)), jnp.float32)
    values = {name: float(op.macs) for name, op in space.operations()[0].items()}
    terms = sum_terms(space, values)
    run = jax.jit(lambda gates: supernet(x, gates))
    logits, costs = [], []
    for row, sampled in itertools.product((outside, member), (True, False)):
        gates = contract.one_hot(space, row, sampled=sampled)
        logits.append(run(gates))
        costs.append(float(terms.total(gates.weight)))
    for other in logits[1:]:
        np.testing.assert_allclose(other, logits[0], atol=1e-5)
    assert len(set(costs)) == 1


def test_the_mixture_is_the_mean_over_the_ways():
    """With one module that may double, the answer is the mean of both networks' answers."""
    space = tiny(least=1, most=1, doublings=1, halvings=1)
    supernet = initialise(space.supernet)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 1)), jnp.float32)
    weight = jnp.array([[0.1, 0.2, 0.3, 0.4]])

    def answer(option):
        return supernet(x, contract.one_hot(space, np.array([option]), sampled=True))

    expected = sum(w * answer(i) for i, w in enumerate(weight[0]))
    np.testing.assert_allclose(supernet(x, Gates(weight)), expected, atol=1e-5)


def test_every_option_has_a_gradient_at_one_hot_gates():
    space = tiny()
    supernet = initialise(space.supernet)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 1)), jnp.float32)
    weight = contract.one_hot(space, np.array([1, 2, 0]), sampled=False).weight
    gradient = jax.jit(jax.grad(lambda w: (supernet(x, Gates(w)) ** 2).sum()))(weight)
    assert np.isfinite(gradient).all()
    assert (np.abs(np.asarray(gradient))[space.mask] > 0).all()


def test_only_members_are_derived(monkeypatch):
    monkeypatch.setattr("hwnas_jax.search.candidates.ENUMERABLE", 10)
    space = full()
    share = np.full((6, 5), 0.2) * space.mask
    found = architectures_of(space, seed=0, probabilities=share / share.sum(1, keepdims=True))
    assert len(found) > 1000
    assert space.feasible(found).all()
    sure = np.eye(5)[[3] * 6]
    assert space.feasible(architectures_of(space, seed=0, probabilities=sure)).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("64-1111-basic", "here 0"),
        ("64-2222-basic", "here 4"),
        ("64-123-basic", "3 modules; 4 to 6"),
        ("32-1234-basic", "64 channels"),
        ("64-41414-1_02_333", "64-1234-basic"),
        ("64-1235-basic", "64-1234-basic"),
    ],
)
def test_strings_of_other_networks_are_named(text, words):
    with pytest.raises(UserError, match=words):
        full().from_string(text)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"channels": 3}, "multiple of 2"),
        ({"halvings": 4}, "cannot be halved 4 times"),
        ({"least": 4}, "most must be a whole number from 4 to 8"),
    ],
)
def test_impossible_sizes_are_named(args, words):
    with pytest.raises(UserError, match=words):
        tiny(**args)


def test_a_restriction_that_leaves_no_member_is_named():
    space = full().restricted({"*": ("2", "4")})
    assert space.size == 0
    with pytest.raises(UserError, match="feasible"):
        space.random(np.random.default_rng(0), 3)
