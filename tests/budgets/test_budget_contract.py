"""Every registered budget keeps the contract, and the contract tells a broken one."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.budgets import BUDGETS, FixedWeight, check_budget
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from tests.budgets import contract


@pytest.mark.parametrize("name", BUDGETS)
def test_every_budget_keeps_the_contract(name):
    contract.check(BUDGETS.make(Part(name)))


def broken(method, said):
    """A fixed weight of which one method is replaced, and what the contract says of it."""
    return pytest.param(
        dataclasses.dataclass(frozen=True)(type("Broken", (FixedWeight,), method)),
        said, id=said.replace(" ", "-"),
    )  # fmt: skip


def term(function):
    return {"term": lambda self, costs, state: function(self.excess(costs, state))}


def meets(function):
    return {"meets": lambda self, costs, limits, widened=1.0: function(costs, limits)}


BROKEN = [
    broken(
        term(lambda excess: jnp.stack(list(excess.values()))), "combine must return float32"
    ),
    broken(
        {**term(lambda excess: jnp.stack(list(excess.values()))),
         "combine": lambda self, loss, costs, state: loss},
        "term must return float32",
    ),
    broken({"term": lambda self, costs, state: costs["watt"]}, "fails: "),
    broken(
        {"excess": lambda self, costs, state: {}}, "excess must name latency_ms, energy_mj"
    ),
    broken(
        {"update": lambda self, excess, state: state._replace(multipliers=jnp.zeros(2))},
        "update must return a state like that of init",
    ),
    broken(
        {"update": lambda self, excess, state: state._replace(
            multipliers={metric: jnp.log(-value) for metric, value in excess.items()}
        )},
        "the state must stay finite",
    ),
    broken(
        term(lambda excess: sum(jnp.sqrt(value) for value in excess.values())),
        "term and combine must be finite",
    ),
    broken(
        {"combine": lambda self, loss, costs, state: -loss + self.term(costs, state)},
        "a larger task loss must make the loss larger",
    ),
    broken(term(lambda excess: -sum(excess.values())), "must add to the loss"),
    broken(term(lambda excess: excess["latency_ms"]), "must add to the loss"),
    broken(
        {"term": lambda self, costs, state: sum(costs.values())}, "the unit of a cost",
    ),
    broken(
        meets(lambda costs, limits: costs["latency_ms"] <= limits["latency_ms"]),
        "above a limit must not meet it",
    ),
    broken(meets(lambda costs, limits: np.zeros(5, bool)), "just within its limits"),
    broken(meets(lambda costs, limits: True), r"must return bool\[N\]"),
    broken({"both_sides": True, **meets(
        lambda costs, limits: np.all([costs[m] <= limits[m] for m in limits], 0)
    )}, "both_sides says"),
    broken(
        {"distance": lambda self, costs, limits, widened=1.0: 1.0 * (
            np.max([costs[metric] / limits[metric] for metric in limits], 0) > 1
        )},
        "distance must grow",
    ),
    broken(
        {"distance": lambda self, costs, limits, widened=1.0: costs["latency_ms"],
         **meets(lambda costs, limits: np.all([costs[m] <= limits[m] for m in limits], 0))},
        "distance must be zero just where",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("method", "said"), BROKEN)
def test_the_contract_tells_a_broken_budget(method, said):
    with pytest.raises((AssertionError, UserError), match=said):
        contract.check(method())


def test_a_limit_needs_a_predicted_metric():
    with pytest.raises(UserError, match=r"metric of the cost model 'latency_mw'.*latency_ms"):
        check_budget(FixedWeight(), {"latency_mw": 1.0}, ("latency_ms", "energy_mj"))
