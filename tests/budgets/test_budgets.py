"""What each budget claims, against closed forms, finite differences and toy searches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.budgets import (
    AbsoluteReward,
    BudgetState,
    DualAscent,
    FixedWeight,
    Product,
    UpperBound,
)

LIMITS = {"latency_ms": 0.7, "energy_mj": 30.0}
COSTS = {"latency_ms": jnp.asarray(0.9), "energy_mj": jnp.asarray(24.0)}
LATENCY, ENERGY = 0.9 / 0.7, 24.0 / 30.0


def with_multipliers(*values):
    limits = {metric: jnp.asarray(limit) for metric, limit in LIMITS.items()}
    return BudgetState(limits, dict(zip(LIMITS, map(jnp.asarray, values), strict=True)))


def search(budget, gain, limit, steps=4000, rate=0.02, start=0.1):
    """Follows `-gain * x` under a cost of x, by gradient; returns x and the multiplier."""

    def one(_, pair):
        x, state = pair
        costs = {"cost": x}
        slope = jax.grad(lambda x: budget.combine(-gain * x, {"cost": x}, state))(x)
        return x - rate * slope, budget.update(budget.excess(costs, state), state)

    start = jnp.asarray(start), budget.init({"cost": limit})
    x, state = jax.jit(lambda pair: jax.lax.fori_loop(0, steps, one, pair))(start)
    return float(x), float(state.multipliers["cost"])


def test_dual_ascent_is_the_augmented_lagrangian_of_all_metrics():
    budget, state = DualAscent(damping=4.0, learning_rate=0.1), with_multipliers(3.0, -0.5)
    latency, energy = LATENCY - 1, ENERGY - 1
    expected = 3.0 * latency + 2.0 * latency**2 - 0.5 * energy + 2.0 * energy**2
    assert float(budget.combine(jnp.asarray(2.0), COSTS, state)) == pytest.approx(2.0 + expected)
    moved = budget.update(budget.excess(COSTS, state), state).multipliers
    assert float(moved["latency_ms"]) == pytest.approx(3.0 + 0.1 * latency)
    assert float(moved["energy_mj"]) == pytest.approx(-0.5 + 0.1 * energy)


@pytest.mark.parametrize("gain", [1.0, -1.0])
def test_dual_ascent_meets_the_limit_from_both_sides(gain):
    """More cost is better for the task, or worse: the limit is met, the multiplier balances."""
    x, multiplier = search(DualAscent(), gain, 0.7)
    assert x == pytest.approx(0.7, rel=1e-3)
    assert multiplier == pytest.approx(0.7 * gain, rel=1e-2)


def test_an_upper_bound_never_pushes_below_the_limit():
    budget = UpperBound()
    for share in (0.0, 0.5, 0.99, 1.0):
        costs = {metric: jnp.asarray(share * limit) for metric, limit in LIMITS.items()}
        state = with_multipliers(5.0, 5.0)
        value, slope = jax.value_and_grad(budget.term)(costs, state)
        assert float(value) == 0.0
        if share < 1:
            assert all(float(leaf) == 0.0 for leaf in slope.values())
        moved = budget.update(budget.excess(costs, state), state).multipliers
        assert all(float(leaf) < 5.0 for leaf in moved.values())
    costs = {"latency_ms": jnp.asarray(0.9), "energy_mj": jnp.asarray(1.0)}
    assert float(budget.term(costs, with_multipliers(5.0, 5.0))) == pytest.approx(
        5.0 * (LATENCY - 1) + 2.0 * (LATENCY - 1) ** 2
    )


def test_an_upper_bounds_multiplier_stays_at_zero_while_nothing_is_above():
    x, multiplier = search(UpperBound(), -1.0, 0.7, steps=200, start=0.6)
    assert multiplier == 0.0
    assert x < 0.0, "what uses less of the budget is not held back"


def test_an_upper_bound_holds_what_would_go_above():
    budget = UpperBound(allowed=0.01)
    x, multiplier = search(budget, 1.0, 0.7)
    assert x == pytest.approx(0.7 * 1.01, rel=2e-3)
    assert multiplier > 0


def test_an_upper_bounds_multiplier_falls_when_the_pressure_is_gone():
    budget = UpperBound(learning_rate=0.1, allowed=0.01)
    state = with_multipliers(0.5, 0.0)
    below = {"latency_ms": jnp.asarray(0.6), "energy_mj": jnp.asarray(20.0)}
    seen = []
    for _ in range(1000):
        state = budget.update(budget.excess(below, state), state)
        seen.append(float(state.multipliers["latency_ms"]))
    assert seen[0] == pytest.approx(0.5 - 0.1 * 0.01)
    assert min(seen) == seen[-1] == 0.0


def test_a_fixed_weight_adds_relative_costs():
    state = FixedWeight(weight=0.3).init(LIMITS)
    found = FixedWeight(weight=0.3).term(COSTS, state)
    assert float(found) == pytest.approx(0.3 * (LATENCY - 1 + ENERGY - 1))
    assert all(float(leaf) == pytest.approx(0.3) for leaf in state.multipliers.values())


def test_an_absolute_reward_counts_both_directions():
    budget = AbsoluteReward(weight=0.3)
    value, slope = jax.value_and_grad(budget.term)(COSTS, budget.init(LIMITS))
    assert float(value) == pytest.approx(0.3 * (LATENCY - 1 + 1 - ENERGY))
    assert float(slope["latency_ms"]) == pytest.approx(0.3 / 0.7)
    assert float(slope["energy_mj"]) == pytest.approx(-0.3 / 30.0)


def test_an_absolute_reward_ranks_the_network_at_the_limit_first():
    budget = AbsoluteReward()
    state = budget.init({"cost": 2.0})
    costs = jnp.linspace(1.0, 3.0, 21)
    terms = jax.vmap(lambda cost: budget.term({"cost": cost}, state))(costs)
    assert float(costs[terms.argmin()]) == pytest.approx(2.0)
    # A network twice as far off is penalised twice as much.
    np.testing.assert_allclose(terms[::-1], terms, atol=1e-6)
    assert float(terms[0]) == pytest.approx(2 * float(terms[5]), rel=1e-5)


def test_a_product_multiplies_the_loss_by_every_factor():
    budget, state = Product(exponent=0.6), Product().init(LIMITS)
    factor = LATENCY**0.6 * ENERGY**0.6
    assert float(budget.combine(jnp.asarray(2.0), COSTS, state)) == pytest.approx(2.0 * factor)
    assert float(budget.term(COSTS, state)) == pytest.approx(factor - 1.0, abs=1e-6)
    # The term is what the costs add to a loss of one.
    assert float(budget.combine(jnp.ones(()), COSTS, state)) == pytest.approx(
        1.0 + float(budget.term(COSTS, state))
    )


def test_a_products_chain_rule_is_the_finite_difference():
    """Of the loss as a function of a parameter that both the task and the costs depend on."""
    budget = Product(exponent=0.6)
    with jax.enable_x64(True):
        state = budget.init({"latency_ms": 0.7, "energy_mj": 30.0})

        def parts(a):
            costs = {"latency_ms": 0.5 + a**2, "energy_mj": 20.0 + 5.0 * jnp.sin(a)}
            return jnp.exp(-a) + 1.0, costs

        def whole(a):
            return budget.combine(*parts(a), state)

        a = jnp.asarray(0.8, jnp.float64)
        task_loss, costs = parts(a)
        by_loss, by_costs = jax.grad(budget.combine, argnums=(0, 1))(task_loss, costs, state)
        task_slope, cost_slopes = jax.jacobian(parts)(a)
        chained = by_loss * task_slope + sum(
            by_costs[metric] * cost_slopes[metric] for metric in costs
        )
        difference = (whole(a + 1e-6) - whole(a - 1e-6)) / 2e-6
        assert float(chained) == pytest.approx(float(difference), rel=1e-7)


def test_a_product_of_a_cost_at_zero_has_a_gradient():
    budget = Product()
    zero = {"latency_ms": jnp.zeros(()), "energy_mj": jnp.asarray(-1.0)}
    value, slope = jax.value_and_grad(budget.term)(zero, budget.init(LIMITS))
    assert np.isfinite([value, *slope.values()]).all()
