"""How decided a search was, against enumeration."""

import numpy as np
import pytest

from hwnas_jax.budgets import DualAscent, UpperBound
from hwnas_jax.budgets.target import Target
from hwnas_jax.search import candidates, decided
from hwnas_jax.search.candidates import within_budget
from hwnas_jax.search.decided import Decided, how_decided
from tests.helpers import TableModel
from tests.search.test_candidates import SPACE, costs, softmax, summed

MODEL = TableModel()


def found(share, budget, value=3.0, **more):
    target = Target("latency_ms", value)
    among = within_budget(SPACE, MODEL, target, budget, probabilities=share, prior=share)
    return among, how_decided(SPACE, MODEL, target, budget, among, share, **more)


@pytest.mark.parametrize("budget", [DualAscent(), UpperBound()], ids=["both-sides", "bound"])
def test_it_is_that_of_the_enumeration(budget):
    share = softmax(2.0 * np.random.default_rng(3).normal(size=(6, 5))).astype(np.float32)
    among, said = found(share, budget, search="a", derived=5)
    least = 0.97 * 3.0 if budget.both_sides else 0.0
    every, cost = summed(share.astype(float), lambda network: True), costs()
    best = max(every, key=lambda network: every[network])
    assert said.network == SPACE.to_string(np.array(best, np.int32))
    assert said.probability == pytest.approx(every[best], rel=1e-4)
    assert said.cost_over_target == pytest.approx(cost[best] / 3.0, rel=1e-5)
    within = sum(p for network, p in every.items() if least <= cost[network] <= 3.0)
    assert said.within_budget == pytest.approx(within, rel=1e-4)
    assert said.derived == pytest.approx(every[tuple(among.networks[5].tolist())], rel=1e-4)
    assert said.search == "a"
    assert said.least_used == pytest.approx(0.97 if budget.both_sides else 0.0)


@pytest.mark.parametrize("times", [0.6, 1.2])
def test_a_large_space_is_judged_by_draws(monkeypatch, times):
    """What is drawn agrees with the list; nothing lies at 97 to 100 % of the second target."""
    value = times * max(costs().values())
    share = softmax(1.5 * np.random.default_rng(4).normal(size=(6, 5))).astype(np.float32)
    _, exact = found(share, DualAscent(), value)
    monkeypatch.setattr(candidates, "ENUMERABLE", 10)
    monkeypatch.setattr(decided, "ENUMERABLE", 10)
    _, drawn = found(share, DualAscent(), value)
    error = (exact.within_budget * (1 - exact.within_budget) / 16_384) ** 0.5
    assert drawn.within_budget == pytest.approx(exact.within_budget, abs=4 * error)
    assert drawn.network == exact.network
    assert drawn.least_used == exact.least_used
    assert drawn.least_used == 0.97 if times < 1 else drawn.least_used < 1 / 1.2
    assert drawn.probability == pytest.approx(exact.probability, rel=0.05)


def test_it_takes_one_network_and_the_budget():
    one = Decided("search", "a", 0.5, 0.98, 0.97, 0.5, 0.5)
    assert one.is_decided
    assert not Decided("search", "a", 0.49, 0.98, 0.97, 0.9, 0.4).is_decided
    assert not Decided("search", "a", 0.9, 0.92, 0.97, 0.001, 4e-4).is_decided
    assert Decided(**one.to_dict()) == one
