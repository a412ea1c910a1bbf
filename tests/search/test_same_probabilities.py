"""Gates, costs and derivation read the same probabilities: those of the relaxation.

The relaxation is a user's own, whose probabilities are not the softmax of its parameters.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.budgets import UpperBound
from hwnas_jax.budgets.target import Target
from hwnas_jax.search.candidates import likely_networks, within_budget
from tests.helpers import small_search
from tests.search.dense import SPACE, DenseModel
from tests.search.steps import batches

OWN = f"{Path(__file__).parents[1]}/methods/my_relaxation.py:Exploring"
TABLE = np.array([0.0, 0.5, 2.0])
PARAMS = jax.random.normal(jax.random.key(4), (3, 3)) * 2


@jax.tree_util.register_static
class Exact(DenseModel):
    exact_expectation = True


def expected():
    """A fifth of the draws is uniform, the others follow the softmax of the parameters."""
    soft = np.exp(np.asarray(PARAMS, float))
    return 0.8 * soft / soft.sum(-1, keepdims=True) + 0.2 / 3


@pytest.fixture(scope="module")
def methods_and_search():
    return small_search(
        SPACE, search__relaxation__name=OWN, search__steps=10, search__warmup_steps=0,
        search__estimator__name="reinforce",
    )  # fmt: skip


def test_what_is_drawn(methods_and_search):
    relaxation, mask = methods_and_search[0].relaxation, jnp.asarray(SPACE.mask)
    keys = jax.random.split(jax.random.key(0), 4000)
    gates = jax.vmap(lambda key: relaxation.sample(key, PARAMS, mask, 1.0))(keys)
    drawn = np.eye(3)[np.asarray(gates.index)].mean(0)
    np.testing.assert_allclose(drawn, expected(), atol=4 * 0.5 / np.sqrt(4000))
    np.testing.assert_array_equal(gates.weight, np.eye(3)[np.asarray(gates.index)])


def test_what_it_costs_and_how_sure_it_is(methods_and_search):
    _, search = methods_and_search
    state = search.init(jax.random.key(0), {"latency_ms": 4.0})._replace(params=PARAMS)
    step = jax.jit(lambda state: search.step(state, batches(space=SPACE), Exact()))
    after, info = step(state)
    assert float(info.cost) == pytest.approx(1.0 + (expected() * TABLE).sum(), rel=1e-5)
    share = np.asarray(methods_and_search[0].probabilities(after.params), float)
    assert float(info.entropy) == pytest.approx(-(share * np.log(share)).sum(-1).mean(), rel=1e-5)


def test_what_is_derived(methods_and_search):
    methods, _ = methods_and_search
    share, prior = methods.probabilities(PARAMS), methods.prior()
    np.testing.assert_allclose(prior, np.full((3, 3), 1 / 3), rtol=1e-6)
    found = within_budget(
        SPACE, Exact(), Target("latency_ms", 4.0), UpperBound(), probabilities=share, prior=prior
    )
    for network, chance in zip(found.networks, found.log_probability, strict=True):
        assert np.exp(chance) == pytest.approx(expected()[range(3), network].prod(), rel=1e-5)
    networks, every, began = likely_networks(SPACE, share, prior, seed=0)
    assert np.exp(every).sum() == pytest.approx(1.0) == pytest.approx(np.exp(began).sum())
    assert len(networks) == 27
