"""The search step on the real space: who may change what, and what reaches whom."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hwnas_jax.search.bilevel import Batch, anneal, make_search
from hwnas_jax.search.objective import Target

from hwnas_jax.config import SearchConfig, TargetConfig
from hwnas_jax.relax.base import sampled_path
from hwnas_jax.spaces import make_space
from tests.helpers import TableModel

SPACE = make_space("nasbench201", {"channels": 2, "cells": 1}, input_shape=(4, 4, 1), num_outputs=3)


@functools.cache
def search_of(relaxation, weight=None):
    config = SearchConfig(relaxation=relaxation, steps=10, warmup_steps=0)
    search = make_search(
        SPACE,
        TableModel(),
        Target("latency_ms", 3.0),
        config,
        TargetConfig(weight=weight, samples=4),
    )
    state = search.init(jax.random.key(0))
    steps = (search.weight_step, search.arch_step)
    return search, state, *(jax.jit(functools.partial(step, axis_name=None)) for step in steps)


def batch():
    keys = jax.random.split(jax.random.key(7), 2)
    images = [jax.random.normal(key, (8, 4, 4, 1)) for key in keys]
    labels = jnp.arange(8) % 3
    return Batch(images[0], labels, images[1], labels)


MODES = ["gumbel_softmax", "straight_through", "sampled_path"]


@pytest.mark.slow
@pytest.mark.parametrize("relaxation", MODES)
def test_each_step_changes_its_own_half_to_the_bit(relaxation):
    _, state, weight_step, arch_step = search_of(relaxation)
    state = state._replace(logits=jax.random.normal(jax.random.key(1), (6, 5)))
    after, _ = weight_step(state, batch(), jax.random.key(2), 1.0)
    assert np.array_equal(after.logits, state.logits)
    assert not np.array_equal(after.weights, state.weights)
    after, _ = arch_step(state, batch(), jax.random.key(2), 1.0)
    assert np.array_equal(after.weights, state.weights)
    chex.assert_trees_all_equal(after.weight_optimizer, state.weight_optimizer)
    assert not np.array_equal(after.logits, state.logits)


@pytest.mark.slow
def test_a_gradient_reaches_every_logit_of_a_sampled_path():
    """The task alone reaches all options of an edge whose drawn operation runs."""
    search, state, _, _ = search_of("sampled_path")

    def task(logits, key):
        gates = sampled_path(key, logits, jnp.asarray(SPACE.mask), 1.0)
        return (search.logits(state.weights, batch().weight_images, gates) ** 2).sum()

    gradient = jax.jit(jax.grad(task))
    reached = sum(np.abs(gradient(state.logits, jax.random.key(seed))) > 0 for seed in range(24))
    assert (reached > 0).all()
    for seed in range(24):
        rows = np.asarray(gradient(state.logits, jax.random.key(seed))) != 0
        assert all(row.all() or not row.any() for row in rows)


@pytest.mark.slow
def test_the_hardware_term_reaches_every_logit_in_one_step():
    _, state, _, arch_step = search_of("sampled_path", weight=1.0)
    after, _ = arch_step(state, batch(), jax.random.key(3), 1.0)
    assert (np.asarray(after.logits) != np.asarray(state.logits)).all()


@pytest.mark.slow
def test_a_fixed_weight_stays_and_a_multiplier_follows_the_excess():
    _, state, _, arch_step = search_of("sampled_path", weight=1.0)
    after, _ = arch_step(state, batch(), jax.random.key(3), 1.0)
    assert float(after.multiplier) == 1.0
    _, state, _, arch_step = search_of("sampled_path")
    after, (_, _, cost, _) = arch_step(state, batch(), jax.random.key(3), 1.0)
    expected = TargetConfig().multiplier_learning_rate * (float(cost) / 3.0 - 1.0)
    assert float(after.multiplier) == pytest.approx(expected, rel=1e-5)


def test_temperature_falls_geometrically_after_the_warm_up():
    config = SearchConfig(steps=100, warmup_steps=20, temperature_start=4.0, temperature_end=0.25)
    assert float(anneal(jnp.array(10), config)) == pytest.approx(4.0)
    assert float(anneal(jnp.array(60), config)) == pytest.approx(1.0)
    assert float(anneal(jnp.array(100), config)) == pytest.approx(0.25)
