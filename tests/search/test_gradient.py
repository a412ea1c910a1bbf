"""The search step: who may change what, and what reaches whom."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.config import SearchConfig, TemperatureConfig
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.relax import RELAXATIONS, Gates
from hwnas_jax.search.gradient import anneal
from hwnas_jax.spaces import make_space
from tests.helpers import TableModel, small_search
from tests.search.steps import (
    KEY,
    LIMITS,
    arch_step,
    batches,
    make,
    start,
    weight_gradient,
    weight_step,
)
from tests.tiny import TABLE, TinySpace

NB201 = make_space("nasbench201", {"channels": 2, "cells": 1}, input_shape=(4, 4, 1), num_outputs=3)


@functools.cache
def on_cells():
    """Returns search and state of the real space under a weight on the costs."""
    methods, search = small_search(
        NB201, search__steps=10, search__warmup_steps=0, budget__name="fixed_weight",
        budget__args={"weight": 1.0},
    )  # fmt: skip
    return methods, search, search.init(jax.random.key(0), {"latency_ms": 3.0})


def check_each_half_changes_its_own(state, after_weights, after_arch):
    chex.assert_trees_all_equal(after_weights.params, state.params)
    assert not np.array_equal(after_weights.weights, state.weights)
    assert np.array_equal(after_arch.weights, state.weights)
    chex.assert_trees_all_equal(after_arch.weight_optimizer, state.weight_optimizer)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), after_arch.params, state.params)
    assert max(jax.tree.leaves(moved)) > 0


@pytest.mark.parametrize("relaxation", ["gumbel_softmax", "straight_through", "drnas"])
def test_each_half_changes_its_own_to_the_bit(relaxation):
    search = make(relaxation)
    state = search.init(jax.random.key(0), LIMITS)
    halves = weight_step(search, state)[0], arch_step(search, state)[0]
    check_each_half_changes_its_own(state, *halves)


@pytest.mark.slow
def test_each_half_changes_its_own_in_cells_and_the_costs_reach_every_logit():
    _, search, state = on_cells()
    data = batches(space=NB201)
    changed, _ = weight_step(search, state, data)
    after, _ = arch_step(search, state, data, TableModel())
    check_each_half_changes_its_own(state, changed, after)
    assert (np.asarray(after.params) != np.asarray(state.params)).all()


@pytest.mark.slow
def test_a_gradient_reaches_every_logit_of_a_sampled_path():
    """The task alone reaches all options of an edge whose drawn operation runs."""
    methods, _, state = on_cells()
    mask, images = jnp.asarray(NB201.mask), batches(space=NB201)["arch"].inputs

    def task(logits, key):
        gates = methods.relaxation.sample(key, logits, mask, 1.0)
        return (methods.supernet.apply(state.weights, images, gates) ** 2).sum()

    gradient = jax.jit(jax.grad(task))
    rows = [np.asarray(gradient(state.params, jax.random.key(seed))) != 0 for seed in range(24)]
    assert np.any(rows, axis=0).all()
    assert all(row.all() or not row.any() for one in rows for row in one)


def test_a_multiplier_follows_the_excess_and_a_fixed_weight_stays():
    share = np.asarray(jax.nn.softmax(start().params))
    cost = float((share * TABLE).sum())
    dual = make(budget__name="dual_ascent", budget__args={"learning_rate": 0.3})
    state = dual.init(jax.random.key(0), LIMITS)._replace(params=start().params)
    after, (_, _, found, _) = arch_step(dual, state)
    assert float(found) == pytest.approx(cost, rel=1e-5)
    assert float(after.budget.multipliers["latency_ms"]) == pytest.approx(0.3 * (cost - 1.0))
    fixed = make(budget__args={"weight": 0.7})
    state = fixed.init(jax.random.key(0), LIMITS)
    after, _ = arch_step(fixed, state)
    assert float(after.budget.multipliers["latency_ms"]) == np.float32(0.7)


def test_the_limits_are_an_input_of_the_step():
    """One compiled step serves every limit: the excess that it reports is of the state's own."""
    search = make(budget__name="dual_ascent", budget__args={"learning_rate": 1.0})
    step, traced = search.arch_step, []

    def counted(state):
        traced.append(1)
        return step(state, batches(), KEY, 1.0, axis_name=None, cost_model=model)

    model, compiled, found = TinyCostOf(2.0), jax.jit(counted), []
    for limit in (1.0, 0.5):
        state = search.init(jax.random.key(0), {"latency_ms": limit})
        found.append(float(compiled(state)[0].budget.multipliers["latency_ms"]))
    assert len(traced) == 1
    assert found == pytest.approx([1.0, 3.0])


@jax.tree_util.register_static
class TinyCostOf(CostModel):
    """Every network costs the same."""

    name, metrics = "even", ("latency_ms",)

    def __init__(self, value):
        self.value = value

    def predict(self, weight):
        return {"latency_ms": self.value + 0.0 * weight.sum()}


def test_temperature_falls_geometrically_after_the_warm_up():
    config = SearchConfig(steps=100, warmup_steps=20, temperature=TemperatureConfig(4.0, 0.25))
    assert float(anneal(jnp.array(10), config)) == pytest.approx(4.0)
    assert float(anneal(jnp.array(60), config)) == pytest.approx(1.0)
    assert float(anneal(jnp.array(100), config)) == pytest.approx(0.25)


class ScoredSpace(TinySpace):
    """Scores a convolution by the sum of its kernel; normalisation fixes only the kernel's norm."""

    def scores(self, supernet):
        rows = [
            [0.0, *(edge.operations[i].conv.kernel[...].sum() for i in (1, 2)), 0.0]
            for edge in supernet.edges
        ]
        return jnp.asarray(rows, jnp.float32)


def test_weight_steps_keep_thresholds_and_follow_the_gradient_through_the_scores():
    methods, search = small_search(
        ScoredSpace(), search__relaxation__name="softmax", search__steps=10,
        search__warmup_steps=2, search__weights__decay=0.0,
    )  # fmt: skip
    assert methods.supernet.scored
    state = search.init(jax.random.key(0), LIMITS)
    state = state._replace(params=start().params)
    scores = jax.jit(methods.supernet.scores)
    step = jax.jit(functools.partial(search.weight_step, axis_name=None))
    warm, _ = step(state, batches(), KEY, 1.0)
    np.testing.assert_array_equal(warm.params, state.params)
    assert float(jnp.abs(scores(warm.weights) - scores(state.weights)).max()) > 1e-3

    after, _ = step(state._replace(step=jnp.int32(2)), batches(), KEY, 1.0)
    assert float(jnp.abs(after.params - state.params).max()) > 1e-3
    thresholds = [np.asarray(scores(s.weights) - s.params) for s in (state, after)]
    np.testing.assert_allclose(*thresholds, atol=1e-6)

    def loss(weights, scored):
        logits = state.params + scored * (scores(weights) - scores(state.weights))
        part = batches()["weight"]
        outputs = methods.supernet.apply(weights, part.inputs, Gates(jax.nn.softmax(logits)))
        logged = jax.nn.log_softmax(outputs)
        return -jnp.take_along_axis(logged, part.targets[:, None], 1).mean()

    through, without = (np.asarray(jax.jit(jax.grad(loss))(state.weights, s)) for s in (1.0, 0.0))
    np.testing.assert_allclose(weight_gradient(after), through, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(weight_gradient(warm), without, rtol=1e-4, atol=1e-6)
    assert np.abs(through - without).max() > 1e-3


def test_the_search_starts_where_its_relaxation_favours_nothing():
    even = np.full((2, 4), 0.25)
    for name in RELAXATIONS:
        methods, search = small_search(TinySpace(), search__relaxation__name=name)
        np.testing.assert_allclose(methods.prior(), even, atol=0.05)
        params = search.init(jax.random.key(3), LIMITS).params
        np.testing.assert_allclose(methods.probabilities(params), even, atol=0.05)
