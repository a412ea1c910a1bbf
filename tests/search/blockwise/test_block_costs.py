"""Combinations of blocks under a cost model whose blocks do or do not add up."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.budgets.target import Target
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.errors import UserError
from hwnas_jax.search.blockwise.block_costs import Combinations, group_blocks
from hwnas_jax.spaces import make_space
from tests.search.blockwise.small import SHAPE, SPACE


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Toy(CostModel):
    """Two costs; neighbouring decisions interact in the first by up to `together`."""

    name = "toy"
    metrics = ("latency_ms", "params")
    each: jax.Array
    together: jax.Array

    def predict(self, weight):
        own = (self.each * weight).sum((1, 2))
        pairs = jnp.einsum("dk,dl,dkl->", weight[:-1], weight[1:], self.together)
        return {"latency_ms": own[0] + pairs, "params": own[1]}


def toy(space, strength, seed=0):
    rng = np.random.default_rng(seed)
    count, options = space.num_decisions, space.num_options
    each = rng.uniform(1, 2, (2, count, options)).astype(np.float32)
    together = strength * rng.normal(size=(count - 1, options, options)).astype(np.float32)
    return Toy(jnp.asarray(each), jnp.asarray(together))


def grouped(space, seed=0):
    rng = np.random.default_rng(seed)
    decisions = [block.decisions for block in space.cut_blocks]
    rows = [
        np.array(list(itertools.product(*(np.flatnonzero(space.mask[d]) for d in own))), np.int32)
        for own in decisions
    ]
    return group_blocks(decisions, rows, [rng.uniform(0, 1, len(own)) for own in rows])


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_equals_the_enumeration_under_two_budgets(strength):
    model, groups = toy(SPACE, strength), grouped(SPACE)
    every = SPACE.enumerate()
    costs = {m: np.asarray(v) for m, v in jax.vmap(model.predict)(jax.nn.one_hot(every, 3)).items()}
    limits = {m: float(np.quantile(v, 0.25)) for m, v in costs.items()}
    target = Target("latency_ms", limits["latency_ms"], None, (("params", limits["params"]),))
    best = Combinations(SPACE, model, target, groups).best(5)
    loss = sum(
        group.loss[[group.rows.tolist().index(r) for r in every[:, list(group.decisions)].tolist()]]
        for group in groups
    )
    within = np.flatnonzero(np.all([costs[m] <= limits[m] for m in limits], axis=0))
    order = within[np.argsort(loss[within])][:5]
    assert 0 < len(within) < 0.2 * len(every)
    np.testing.assert_array_equal(best.networks, every[order])
    np.testing.assert_allclose(best.loss, loss[order])
    assert "no other network" in best.proof


@pytest.mark.parametrize(
    ("strength", "words"), [(0.0, "costs add up"), (0.02, "as far as the interactions")]
)
def test_all_19_layers_of_dna(strength, words):
    space = make_space("dna", {"width": 0.25, "halvings": 2}, **SHAPE)
    model, groups = toy(space, strength), grouped(space)
    drawn = space.random(np.random.default_rng(1), 500)
    costs = jax.vmap(model.predict)(jax.nn.one_hot(drawn, space.num_options))
    limits = {m: float(np.quantile(v, 0.3)) for m, v in costs.items()}
    target = Target("latency_ms", limits["latency_ms"], None, (("params", limits["params"]),))
    combinations = Combinations(space, model, target, groups)
    best = combinations.best(4)
    assert best.proof.endswith(words) or words in best.proof
    assert best.traversed.optimal and best.traversed.visited < 20_000_000
    spent = jax.vmap(model.predict)(jax.nn.one_hot(best.networks, space.num_options))
    assert all((np.asarray(spent[m]) <= limits[m]).all() for m in limits)
    # No network of random draws within the budgets has a lower loss.
    chosen = combinations.draw(4000)
    loss = sum(group.loss[chosen[:, g]] for g, group in enumerate(groups))
    fits = (combinations.costs(chosen) <= combinations.limits).all(1)
    assert fits.any() and loss[fits].min() > best.loss[0]


def test_blocks_with_the_same_decisions_are_one_group():
    rows = np.arange(4, dtype=np.int32)[:, None]
    groups = group_blocks(
        [(0,), (1,), (0,)], [rows, rows[:2], rows], [[1, 2, 3, 4], [5, 6], [10] * 4]
    )
    assert [group.decisions for group in groups] == [(0,), (1,)]
    np.testing.assert_array_equal(groups[0].loss, [11, 12, 13, 14])


def test_a_budget_that_nothing_meets_names_the_least_and_the_nearest():
    model, groups = toy(SPACE, 0.3), grouped(SPACE)
    every = SPACE.enumerate()
    costs = jax.vmap(model.predict)(jax.nn.one_hot(every, 3))
    least = {m: float(v.min()) for m, v in costs.items()}
    target = Target(
        "latency_ms", 0.9 * least["latency_ms"], None, (("params", 2 * least["params"]),)
    )
    with pytest.raises(UserError) as error:
        Combinations(SPACE, model, target, groups).best(5)
    nearest = every[int(np.asarray(costs["latency_ms"]).argmin())]
    assert f"{least['latency_ms']:.4g} ms and {least['params']:.4g}" in str(error.value)
    assert SPACE.to_string(nearest) in str(error.value)
