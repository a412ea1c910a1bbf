"""Which architectures meet a budget, against enumeration."""

import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest

from hwnas_jax.budgets import DualAscent, UpperBound
from hwnas_jax.budgets.target import Target
from hwnas_jax.config import TargetConfig
from hwnas_jax.errors import UserError
from hwnas_jax.search import candidates as module
from hwnas_jax.search.candidates import (
    architectures_of,
    as_candidate,
    cost_range,
    resolve_target,
    within_budget,
)
from hwnas_jax.spaces import make_space
from tests.helpers import TABLE, TableModel

SPACE = make_space("nasbench201", {"channels": 2, "cells": 1}, input_shape=(8, 8, 1), num_outputs=3)


@functools.cache
def networks():
    """Returns the network that each cell builds, in canonical form."""
    cells = np.array(list(itertools.product(range(5), repeat=6)), np.int32)
    rows = zip(cells.tolist(), SPACE.canonical(cells).tolist(), strict=True)
    return {tuple(cell): tuple(network) for cell, network in rows}


@functools.cache
def costs():
    """Returns what each cell costs: what its network does."""
    return {
        cell: sum(float(TABLE[d, o]) for d, o in enumerate(network))
        for cell, network in networks().items()
    }


def test_range_is_that_of_the_enumeration():
    found, all_costs = (
        cost_range(SPACE, TableModel(), "latency_ms"),
        np.array(list(costs().values())),
    )
    assert found.lowest == pytest.approx(all_costs.min(), rel=1e-5)
    assert found.highest == pytest.approx(all_costs.max(), rel=1e-5)
    assert found.at(25) == pytest.approx(np.percentile(all_costs, 25), rel=1e-5)


def summed(share, fits):
    """Returns by network the probability of all cells that build it, where it fits."""
    found = {}
    for cell, network in networks().items():
        if fits(network):
            chance = np.prod([share[d, o] for d, o in enumerate(cell)])
            found[network] = found.get(network, 0.0) + chance
    return found


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


@pytest.mark.parametrize(("budget", "least"), [(DualAscent(), 0.97), (UpperBound(), 0.0)])
def test_candidates_are_those_of_the_enumeration(budget, least):
    rng = np.random.default_rng(1)
    share, prior = (softmax(rng.normal(size=(6, 5))) for _ in range(2))
    target, every = Target("latency_ms", 3.0), costs()
    found = within_budget(SPACE, TableModel(), target, budget, probabilities=share, prior=prior)
    fits = lambda network: 3.0 * least <= every[network] <= 3.0  # noqa: E731
    wanted, started = summed(share, fits), summed(prior, fits)
    rows = [tuple(row) for row in found.networks.tolist()]
    assert len(rows) == len(set(rows))
    assert set(rows) == set(wanted)
    np.testing.assert_allclose(
        np.exp(found.log_probability), [wanted[row] for row in rows], rtol=1e-4
    )
    np.testing.assert_allclose(np.exp(found.log_prior), [started[row] for row in rows], rtol=1e-4)
    np.testing.assert_allclose(
        found.predicted["latency_ms"], [every[row] for row in rows], rtol=1e-5
    )
    one = as_candidate(found, target, 3)
    assert tuple(one.architecture.tolist()) == rows[3]
    assert (one.predicted, one.bound) == pytest.approx((every[rows[3]],) * 2, rel=1e-5)
    assert one.log_probability == found.log_probability[3]


def test_without_a_search_every_cell_is_as_likely():
    found = within_budget(SPACE, TableModel(), Target("latency_ms", 3.0), DualAscent())
    even = np.full((6, 5), 0.2)
    wanted = summed(even, lambda network: True)
    expected = [wanted[tuple(row)] for row in found.networks.tolist()]
    np.testing.assert_allclose(np.exp(found.log_probability), expected, rtol=1e-4)
    np.testing.assert_array_equal(found.log_probability, found.log_prior)


def test_further_limits_leave_fewer_networks():
    """Latency from both sides, and at most so many operations that are no skips."""
    target = Target("latency_ms", 3.0, None, (("operations", 3.0),))
    found = within_budget(SPACE, Counting(), target, DualAscent())
    every = costs()
    wanted = {
        network for network in summed(np.full((6, 5), 0.2), lambda n: True)
        if 2.91 <= every[network] <= 3.0 and sum(option > 1 for option in network) <= 3
    }  # fmt: skip
    assert {tuple(row) for row in found.networks.tolist()} == wanted
    assert 0 < len(wanted) < len(within_budget(
        SPACE, Counting(), Target("latency_ms", 3.0), DualAscent()).networks)  # fmt: skip
    bare = min(every[n] for n in networks().values() if not any(option > 1 for option in n))
    target = Target("latency_ms", 0.99 * bare, None, (("operations", 0.5),))
    with pytest.raises(UserError, match=r"ms and 0\.5 operations; the least that any takes is"):
        within_budget(SPACE, Counting(), target, DualAscent())


@jax.tree_util.register_static
class Counting(TableModel):
    """Predicts how many edges have an operation beside the latency."""

    metrics = ("latency_ms", "operations")

    def predict(self, weight):
        counted = np.array([0.0, 0.0, 1.0, 1.0, 1.0], np.float32)
        return {**super().predict(weight), "operations": (weight * counted).sum()}


def test_a_sparse_space_gives_what_comes_closest():
    """Every network leaves more than a millionth free; that share is doubled until one fits."""
    used = np.array([cost for cost in costs().values() if cost <= 3.0]) / 3.0
    assert used.max() < 1 - 1e-6
    widened = 1e-6
    while used.max() < 1 - widened:
        widened *= 2
    found = within_budget(
        SPACE, TableModel(), Target("latency_ms", 3.0), DualAscent(tolerance=1e-6)
    )
    wanted = {network for network in networks().values()
              if 1 - widened <= costs()[network] / 3.0 <= 1.0}  # fmt: skip
    assert {tuple(row) for row in found.networks.tolist()} == wanted


@dataclasses.dataclass(frozen=True)
class NeverMet(DualAscent):
    def distance(self, costs, limits, *, widened=1.0):
        return 1.0 + super().distance(costs, limits, widened=widened)


def test_a_budget_that_nothing_meets_is_named():
    target = Target("latency_ms", 3.0)
    with pytest.raises(UserError, match="dual_ascent says of no network that it meets the limits"):
        within_budget(SPACE, TableModel(), target, NeverMet())


def test_large_spaces_are_sampled(monkeypatch):
    monkeypatch.setattr(module, "ENUMERABLE", 10)
    monkeypatch.setattr(module, "SAMPLES", 4096)
    share = np.full((6, 5), 0.02)
    share[:, 3] = 0.92
    drawn = architectures_of(SPACE, seed=0, probabilities=share)
    assert len(np.unique(drawn, axis=0)) == len(drawn)
    assert [3] * 6 in drawn.tolist()
    assert (drawn == 3).mean() > 0.3
    assert len(architectures_of(SPACE, seed=0)) > 3000


def test_a_target_out_of_reach_names_the_range():
    reachable = cost_range(SPACE, TableModel(), "latency_ms")
    with pytest.raises(UserError, match=f"{reachable.lowest:.4g} to {reachable.highest:.4g} ms"):
        resolve_target(TargetConfig(value=100.0), reachable)
    least = f"to meet 0.01 ms; the least that any takes is {reachable.lowest:.4g} ms"
    with pytest.raises(UserError, match=least):
        within_budget(SPACE, TableModel(), Target("latency_ms", 0.01), DualAscent())


def test_percentiles():
    reachable = cost_range(SPACE, TableModel(), "latency_ms")
    assert resolve_target(TargetConfig(percentile=25.0), reachable).value == reachable.at(25)
    assert resolve_target(TargetConfig(value=3.0), reachable).value == 3.0
