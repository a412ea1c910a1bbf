"""Which architectures meet a budget, against enumeration."""

import itertools

import numpy as np
import pytest
from hwnas_jax.search.objective import Target

from hwnas_jax.config import TargetConfig
from hwnas_jax.errors import UserError
from hwnas_jax.search import candidates as module
from hwnas_jax.search.candidates import architectures_of, cost_range, resolve_target, within_budget
from hwnas_jax.spaces import make_space
from tests.helpers import TABLE, TableModel

SPACE = make_space("nasbench201", {"channels": 2, "cells": 1}, input_shape=(8, 8, 1), num_outputs=3)


def costs():
    cells = itertools.product(range(5), repeat=6)
    return {cell: sum(TABLE[d, o] for d, o in enumerate(cell)) for cell in cells}


def test_range_is_that_of_the_enumeration():
    found, all_costs = (
        cost_range(SPACE, TableModel(), "latency_ms"),
        np.array(list(costs().values())),
    )
    assert found.lowest == pytest.approx(all_costs.min(), rel=1e-5)
    assert found.highest == pytest.approx(all_costs.max(), rel=1e-5)
    assert found.at(25) == pytest.approx(np.percentile(all_costs, 25), rel=1e-5)


def test_most_probable_within_the_budget_is_that_of_the_enumeration():
    logits = np.random.default_rng(1).normal(size=(6, 5))
    target = Target("latency_ms", 3.0)
    found = within_budget(SPACE, TableModel(), target, 0.03, logits=logits)
    share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    fits = {}
    every = costs()
    for cell in every:
        network = tuple(SPACE.canonical(np.array([cell]))[0].tolist())
        if 3.0 * 0.97 <= every[network] <= 3.0:
            chance = np.prod([share[d, o] for d, o in enumerate(cell)])
            fits[network] = fits.get(network, 0.0) + chance
    assert {tuple(c.architecture.tolist()) for c in found} == set(fits)
    for candidate in found:
        chance = fits[tuple(candidate.architecture.tolist())]
        assert np.exp(candidate.log_probability) == pytest.approx(chance, rel=1e-4)
    scores = [c.log_probability for c in found]
    assert scores == sorted(scores, reverse=True)


def test_chance_takes_from_the_same_architectures():
    target = Target("latency_ms", 3.0)
    chance = within_budget(SPACE, TableModel(), target, 0.03, seed=3)
    found = within_budget(SPACE, TableModel(), target, 0.03, logits=np.zeros((6, 5)))
    as_set = lambda group: {tuple(c.architecture.tolist()) for c in group}  # noqa: E731
    assert as_set(chance) == as_set(found)
    other = within_budget(SPACE, TableModel(), target, 0.03, seed=4)
    assert chance[0].architecture.tolist() != other[0].architecture.tolist()


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
        resolve_target(TargetConfig(ms=100.0), reachable)
    with pytest.raises(UserError, match="fastest takes"):
        within_budget(SPACE, TableModel(), Target("latency_ms", 0.01), 0.03)


def test_percentiles():
    reachable = cost_range(SPACE, TableModel(), "latency_ms")
    assert resolve_target(TargetConfig(percentile=25.0), reachable).value == reachable.at(25)
    assert resolve_target(TargetConfig(ms=3.0), reachable).value == 3.0
