"""What every budget must keep, for two metrics at once."""

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.budgets import check_budget

LIMITS = {"latency_ms": 2.0, "energy_mj": 30.0}
FIRST, SECOND = LIMITS


def must(condition, what):
    """Fails with a sentence when a part of the contract is broken."""
    assert np.all(condition), what


def costs_at(shares, unit=1.0):
    """Costs as shares of the limits, in a unit that is `1 / unit` times as large."""
    return {
        metric: jnp.asarray(unit * share * limit, jnp.float32)
        for (metric, limit), share in zip(LIMITS.items(), shares, strict=True)
    }


def finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def after(budget, shares, steps, unit=1.0):
    """The state after some steps at the same costs."""
    state = budget.init({metric: unit * limit for metric, limit in LIMITS.items()})
    costs = costs_at(shares, unit)

    def step(_, state):
        return budget.update(budget.excess(costs, state), state)

    return jax.jit(lambda state: jax.lax.fori_loop(0, steps, step, state))(state)


def check(budget):
    """Fails when a budget breaks its contract."""
    check_budget(budget, LIMITS, (*LIMITS, "size_kib"))
    pressed = after(budget, (1.3, 1.2), 50)
    must(finite(pressed), "the state must stay finite")
    loss = jnp.asarray(1.7, jnp.float32)

    term = jax.jit(jax.value_and_grad(budget.term))
    combine = jax.jit(jax.value_and_grad(budget.combine, argnums=(0, 1)))
    places = {
        shares: (term(costs_at(shares), pressed), combine(loss, costs_at(shares), pressed))
        for shares in [(0.3, 0.3), (1.0, 1.0), (1.1, 1.1), (1.1, 1.4), (1.5, 1.1), (3.0, 2.5)]
    }
    must(finite(places), "term and combine must be finite, with their gradients")
    for shares, ((_, by_cost), (_, (by_loss, by_cost_too))) in places.items():
        must(by_loss > 0, "a larger task loss must make the loss larger")
        if min(shares) > 1:
            for gradient in (by_cost, by_cost_too):
                must(
                    [gradient[metric] > 0 for metric in LIMITS],
                    "every cost above its limit must add to the loss",
                )
    low, more_second, more_first = (
        places[shares][0][0] for shares in [(1.1, 1.1), (1.1, 1.4), (1.5, 1.1)]
    )
    must(low < more_second and low < more_first, "every cost above its limit must add to the loss")

    in_other_units = after(budget, (1.3, 1.2), 50, unit=1000.0)
    must(
        np.isclose(budget.term(costs_at((1.4, 0.9)), pressed),
                   budget.term(costs_at((1.4, 0.9), 1000.0), in_other_units), rtol=1e-4),
        "the unit of a cost must not matter",
    )  # fmt: skip

    shares = np.array([0.3, 0.99, 1.0, 1.001, 1.5])
    networks = {FIRST: shares * LIMITS[FIRST], SECOND: np.full(5, 0.5 * LIMITS[SECOND])}
    meets = budget.meets(networks, LIMITS)
    must(np.shape(meets) == (5,) and meets.dtype == bool, "meets must return bool[N]")
    must(~meets[shares > 1], "a network above a limit must not meet it")
    must(meets[1:3], "a network just within its limits must meet them")
    must(meets[0] != budget.both_sides, "both_sides says whether little use meets a limit")
    distance = budget.distance(networks, LIMITS)
    must((distance == 0) == meets, "distance must be zero just where the budget is met")
    must(distance[3] < distance[4], "distance must grow with what lies above a limit")
    networks[SECOND] = np.full(5, 1.01 * LIMITS[SECOND])
    must(~budget.meets(networks, LIMITS), "a network above a limit must not meet it")
