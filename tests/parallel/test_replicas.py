"""Replicas: many devices mean what one device means."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.config import Config, ParallelConfig, override
from hwnas_jax.data import Dataset
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.replicas import AXIS, Members, Replicas, mean_over_replicas, own_slice
from hwnas_jax.search.objective import Target
from hwnas_jax.search.stage import search_architecture
from hwnas_jax.spaces import make_space
from hwnas_jax.train.training import train
from tests.helpers import TableModel


def replicas(count, backend="pmap"):
    return Replicas.from_config(ParallelConfig(devices=count, backend=backend))


@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
@pytest.mark.parametrize("count", [1, 8])
def test_slices_cover_the_batch_and_means_are_of_the_whole(backend, count):
    group = replicas(count, backend)

    def step(state, data):
        own = own_slice(data, AXIS)
        mean, twice = mean_over_replicas((own.mean(), 2 * own.mean()), AXIS)
        return state + mean, (own, twice)

    data = np.arange(16.0, dtype=np.float32)
    compiled = group.compile(step)
    state, (own, twice) = compiled(group.place(jnp.float32(1.0)), group.share(data))
    np.testing.assert_allclose(np.asarray(own).reshape(-1), data)
    assert float(group.read(state)) == pytest.approx(1.0 + data.mean())
    assert float(group.read(twice)) == pytest.approx(2 * data.mean())
    group.check_identical(state)


@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
def test_the_step_is_traced_once(backend):
    group, traced = replicas(8, backend), []

    def step(state, data):
        traced.append(1)
        return {"x": state["x"] + data.sum(), "key": state["key"]}, data

    compiled, data = group.compile(step), group.share(np.ones(3, np.float32))
    state = group.place({"x": jnp.zeros(4), "key": jax.random.key(0)})
    for _ in range(3):
        state, _ = compiled(state, data)
    assert len(traced) == 1
    np.testing.assert_allclose(group.read(state)["x"], 9.0)
    assert jax.random.key_data(group.read(state)["key"]).tolist() == [0, 0]


def test_replicas_that_differ_are_found():
    group = replicas(4)
    step = group.compile(lambda state, data: (state + jax.lax.axis_index(AXIS), data))
    state, _ = step(group.place(jnp.int32(0)), group.share(np.ones(1)))
    with pytest.raises(RuntimeError, match="differ"):
        group.check_identical({"x": state})


@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
@pytest.mark.parametrize(
    ("members", "devices", "spread"), [(8, 2, 2), (7, 2, 2), (3, None, 3), (5, 4, 3), (9, 1, 1)]
)
def test_members_are_spread_and_gathered_in_order(backend, members, devices, spread):
    group = Members.over(members, devices, backend)
    assert (group.count, group.each) == (spread, -(-members // spread))
    state = {"x": jnp.arange(2.0 * members).reshape(members, 2),
             "key": jax.random.split(jax.random.key(0), members)}  # fmt: skip
    compiled = group.compile(
        lambda state, data: ({**state, "x": state["x"] * data}, {"sum": state["x"].sum(1)})
    )
    new, info = compiled(group.place(state), group.share(np.float32(3.0)))
    np.testing.assert_allclose(group.read(new)["x"], 3 * np.asarray(state["x"]))
    np.testing.assert_allclose(group.read(info)["sum"], np.asarray(state["x"]).sum(1))
    chex.assert_trees_all_equal(
        jax.random.key_data(group.read(new)["key"]), jax.random.key_data(state["key"])
    )


def test_bad_counts_are_named():
    with pytest.raises(UserError, match=r"sweep.devices = 99, but this machine has 8 cpu"):
        Members.over(100, 99, "pmap")
    with pytest.raises(UserError, match=r"parallel.devices = 99, but this machine has 8 cpu"):
        replicas(99)
    with pytest.raises(UserError, match="divide by 8 devices; the nearest that does is 64"):
        replicas(8).check_batch(60, "search.batch_size")


@functools.cache
def images():
    rng = np.random.default_rng(0)
    labels = np.arange(96, dtype=np.int32) % 3
    pictures = rng.integers(0, 80, (96, 4, 4, 1)) + 60 * labels[:, None, None, None]
    return Dataset(
        name="stripes", train_inputs=pictures.astype(np.uint8), train_targets=labels,
        test_inputs=pictures[:30].astype(np.uint8), test_targets=labels[:30],
        class_names=("a", "b", "c"),
    )  # fmt: skip


SPACE = make_space("nasbench201", {"channels": 2, "cells": 1}, input_shape=(4, 4, 1), num_outputs=3)


def searched(devices, backend="pmap", relaxation="sampled_path", sync=True, **options):
    config = override(
        Config(), parallel__devices=devices, parallel__backend=backend,
        parallel__sync_batch_statistics=sync, search__relaxation=relaxation, search__steps=6,
        search__warmup_steps=1, search__steps_per_dispatch=3, search__batch_size=16,
        search__checkpoint_every=3, search__weight_learning_rate=0.02,
    )  # fmt: skip
    target = Target("latency_ms", 3.0)
    return search_architecture(SPACE, images(), TableModel(), target, config, **options).state


@pytest.mark.slow
@pytest.mark.parametrize("relaxation", ["sampled_path", "gumbel_softmax"])
def test_eight_devices_search_as_one(relaxation):
    """With synchronised statistics; the run itself checks that replicas stay identical."""
    one = searched(1, relaxation=relaxation)
    for backend in ["pmap", "shard_map"]:
        many = searched(8, backend, relaxation)
        np.testing.assert_allclose(many.logits, one.logits, rtol=2e-3, atol=2e-4)
        np.testing.assert_allclose(many.weights, one.weights, rtol=2e-3, atol=2e-4)
    assert np.abs(np.asarray(one.logits)).max() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("relaxation", ["sampled_path", "straight_through"])
def test_statistics_per_replica_keep_replicas_identical(relaxation):
    state = searched(8, relaxation=relaxation, sync=False)
    assert np.isfinite(state.weights).all()


@pytest.mark.slow
def test_a_run_of_eight_devices_resumes_on_one(tmp_path, monkeypatch):
    whole = searched(8, folder=tmp_path / "whole")
    folder = tmp_path / "broken"
    searched(8, folder=folder)
    state = searched(1, folder=folder, from_step=3)
    np.testing.assert_allclose(state.logits, whole.logits, rtol=2e-3, atol=2e-4)
    assert int(state.step) == 6


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 8])
def test_a_network_trains_on_any_number_of_devices(devices, tmp_path):
    config = override(
        Config(), parallel__devices=devices, parallel__sync_batch_statistics=True,
        retrain__epochs=8, retrain__batch_size=16, retrain__learning_rate=0.05, data__shift=0,
    )  # fmt: skip
    architecture = np.array([3, 1, 0, 3, 1, 1])
    build = functools.partial(SPACE.network, architecture, axis_name=AXIS)
    first = train(build, images(), config, folder=tmp_path)
    assert first.test_accuracy > 0.9
    again = train(build, images(), config, folder=tmp_path)
    assert again.test_accuracy == first.test_accuracy
    chex.assert_trees_all_equal(
        *(jax.tree.leaves(jax.tree.map(np.asarray, t.network)) for t in (first, again))
    )
