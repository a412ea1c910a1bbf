"""What a strategy may know before it asks, against closed forms of the normal distribution."""

from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.budgets import DualAscent, UpperBound
from hwnas_jax.budgets.target import Target
from hwnas_jax.search.evaluators import make_ahead
from hwnas_jax.search.outlook import outlook_of
from hwnas_jax.search.strategies import Outlook, SoftAhead, within_budget
from tests.search.dense import SPACE, DenseModel

ROWS = SPACE.enumerate()
COST = 1.0 + np.array([0.0, 0.5, 2.0])[ROWS].sum(axis=1)
LIMIT, STD = 3.5, 0.4


@jax.tree_util.register_static
class Unsure(DenseModel):
    """Predicts two metrics, and knows how sure it is of the first."""

    metrics, knows_uncertainty = ("latency_ms", "energy_mj"), True

    def predict(self, weight):
        costs = super().predict(weight)
        return {**costs, "energy_mj": weight[0, 2]}

    def std(self, weight):
        return {"latency_ms": jnp.float32(STD), "energy_mj": jnp.float32(0)}


@pytest.mark.parametrize("budget", [UpperBound(), DualAscent(tolerance=0.2)])
def test_the_chance_is_that_of_a_normal_cost_to_keep_the_budget(budget):
    target = Target("latency_ms", LIMIT, 0.9, (("energy_mj", 0.5),))
    found = jax.jit(outlook_of(Unsure(), target, budget, 3))(ROWS)
    normal = NormalDist()
    np.testing.assert_allclose(found.cost, COST, rtol=1e-6)
    for row, cost, chance, excess in zip(ROWS, COST, found.chance, found.excess, strict=True):
        expected = normal.cdf((LIMIT - cost) / STD)
        if budget.both_sides:
            expected -= normal.cdf((0.8 * LIMIT - cost) / STD)
        assert chance == pytest.approx(0 if row[0] == 2 else expected, abs=1e-5)
        # With a confidence it is the upper bound that has to keep the limit.
        bound = (cost + normal.inv_cdf(0.9) * STD) / LIMIT
        over = max(bound - 1, 0) + (max(1 - 0.2 - bound, 0) if budget.both_sides else 0)
        assert excess == pytest.approx(over + (1 / 0.5 - 1) * (row[0] == 2), abs=1e-5)


def test_without_an_uncertainty_the_chance_is_one_or_zero():
    found = outlook_of(DenseModel(), Target("latency_ms", LIMIT), UpperBound(), 3)(ROWS)
    np.testing.assert_array_equal(found.chance, COST <= LIMIT)


@jax.tree_util.register_static
class Exact(DenseModel):
    """Says that its prediction at probabilities is an expectation, as it is for a sum."""

    exact_expectation = True


@pytest.mark.parametrize("model", [DenseModel(), Exact()])
def test_the_expected_cost_of_drawn_architectures_is_held_against_the_budget(model):
    """With the members and features of the space about it, as a strategy gets it."""
    share = np.random.default_rng(0).dirichlet(np.ones(3), 3).astype(np.float32)
    cost = 1.0 + (share * [0.0, 0.5, 2.0]).sum()
    limit = 0.8 * cost
    found = make_ahead(SPACE, outlook_of(model, Target("latency_ms", limit), UpperBound(), 3))
    assert isinstance(found, SoftAhead)
    keys = jax.random.split(jax.random.key(0), 500)
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(found.expected, 1), (0, None)))(keys, share)
    assert float(value.mean()) == pytest.approx(0.25, abs=0.02)
    slope = np.asarray(slope).mean(axis=0) * limit
    np.testing.assert_allclose(slope - slope[:, :1], [[0.0, 0.5, 2.0]] * 3, atol=0.03)
    np.testing.assert_allclose(found(ROWS).excess, np.maximum(COST / limit - 1, 0), atol=1e-5)


def test_of_several_draws_the_first_that_fits_is_taken():
    """And where none fits, that which exceeds the budget least."""

    def ahead(rows):
        excess = jnp.where(rows[:, 0] < 3, 0.0, rows[:, 0] / 10.0)
        return Outlook(excess, excess, excess, rows)

    def draw(key):
        return jax.random.randint(key, (1,), 0, 9)

    key = jax.random.key(4)
    found = np.asarray(within_budget(key, ahead, draw, 50, 3))[:, 0]
    drawn = jax.vmap(draw)(jax.random.split(key, 150))
    for own, three in zip(found, np.asarray(drawn).reshape(50, 3), strict=True):
        fits = [value for value in three if value < 3]
        assert own == (fits[0] if fits else min(three))
    assert (found >= 3).any()
