"""Replicas: many devices compute what one device computes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.config import Config, ParallelConfig, override
from hwnas_jax.errors import UserError
from hwnas_jax.nn.normalisation import network_norm
from hwnas_jax.parallel.replicas import AXIS, Members, Replicas, mean_over_replicas, own_slice
from hwnas_jax.relax import one_hot_gates
from hwnas_jax.runs.retrain import train
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from tests.parallel.toy import alone, check_same_end, end_of, searched, settings
from tests.search.dense import images


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


@pytest.mark.parametrize(
    ("devices", "backend", "relaxation"),
    [
        (1, "pmap", "sampled_path"),
        (8, "pmap", "sampled_path"),
        (8, "shard_map", "sampled_path"),
        (8, "pmap", "gumbel_softmax"),
    ],
)
def test_any_number_of_devices_search_as_four(devices, backend, relaxation):
    """With synchronised statistics; the run itself checks that replicas stay identical."""
    config = settings(
        parallel__devices=devices, parallel__backend=backend, search__relaxation__name=relaxation
    )
    check_same_end(end_of(searched(config)), alone(relaxation))


def test_statistics_per_replica_keep_replicas_identical():
    config = settings(parallel__devices=8, parallel__sync_batch_statistics=False)
    end = end_of(searched(config))
    assert np.isfinite(end["weights"]).all()
    assert np.abs(end["weights"] - alone()["weights"]).max() > 1e-3  # the statistics do differ


def test_a_run_of_eight_devices_resumes_on_one(tmp_path):
    whole = end_of(searched(settings(parallel__devices=8), folder=tmp_path))
    resumed = searched(settings(parallel__devices=1), folder=tmp_path, from_step=6)
    check_same_end(end_of(resumed), whole)


def test_a_supernet_of_real_cells_averages_all_of_its_statistics():
    """Two replicas with half of a batch each compute what one computes with all of it."""
    space = make_space(
        "nasbench201", {"channels": 2, "cells": 1}, input_shape=(4, 4, 1), num_outputs=3
    )
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(8, *space.input_shape)).astype(np.float32)
    gates = one_hot_gates(np.array([3, 2, 4, 1, 3, 2]), space.num_options, sampled=True)
    weights = make_supernet(space).init(jax.random.key(0))

    def gradient(weights, inputs, axis_name):
        supernet = make_supernet(space, sync_axis=axis_name)
        loss, slope = jax.value_and_grad(
            lambda weights: (supernet.apply(weights, inputs, gates) ** 3).mean()
        )(weights)
        return mean_over_replicas((loss, slope), axis_name)

    group = replicas(2)
    compiled = group.compile(
        lambda weights, inputs: (weights, gradient(weights, own_slice(inputs, AXIS), AXIS))
    )
    _, found = compiled(group.place(weights), group.share(inputs))
    loss, slope = jax.jit(lambda weights: gradient(weights, inputs, None))(weights)
    found_loss, found_slope = group.read(found)
    assert float(found_loss) == pytest.approx(float(loss), rel=1e-4)
    np.testing.assert_allclose(found_slope, slope, rtol=1e-3, atol=1e-4 * np.abs(slope).max())


class Network(nnx.Module):
    """Two dense layers with running statistics, averaged over the replicas."""

    def __init__(self, rngs):
        self.inward, self.outward = nnx.Linear(4, 16, rngs=rngs), nnx.Linear(16, 3, rngs=rngs)
        self.norm = network_norm(AXIS)(16, rngs)

    def __call__(self, x):
        return self.outward(nnx.relu(self.norm(self.inward(x.reshape(len(x), -1)))))


def trained(devices, folder):
    config = override(
        Config(), parallel__devices=devices, parallel__sync_batch_statistics=True,
        retrain__epochs=8, retrain__batch_size=16, retrain__learning_rate=0.05, data__shift=0,
    )  # fmt: skip
    return train(Network, images(), config, folder=folder)


def test_a_network_trains_on_eight_devices_as_on_one(tmp_path):
    first = trained(1, tmp_path / "one")
    assert first.test_metric > 0.8  # of three classes
    for folder, tolerance in (("eight", 2e-3), ("one", 0.0)):
        again = trained(8, tmp_path / folder)  # in "one" the finished training is read back
        for found, expected in zip(leaves(again), leaves(first), strict=True):
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance / 10)


def leaves(result):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(result.network))]
