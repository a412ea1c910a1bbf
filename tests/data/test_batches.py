"""Batches depend on the key and the number of the step: not on replicas, resuming or residency."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.config import DataConfig, ParallelConfig
from hwnas_jax.data import Dataset
from hwnas_jax.data.batches import Batches
from hwnas_jax.parallel.replicas import AXIS, Replicas

RNG = np.random.default_rng(0)
PARTS = {"weight": np.arange(0, 21, dtype=np.int32), "arch": np.arange(21, 40, dtype=np.int32)}
CONFIG = DataConfig(shift=1, flip=True)


@functools.cache
def numbered():
    """Returns images whose pixels and targets tell which example they are of."""
    inputs = np.arange(40 * 9, dtype=np.int32).reshape(40, 3, 3, 1) % 251
    targets = np.arange(40, dtype=np.int32)
    inputs = inputs.astype(np.uint8)
    names = tuple(f"class{i}" for i in range(40))
    return Dataset("numbered", inputs, targets, inputs[:5], targets[:5], names)


class State(NamedTuple):
    step: Any
    key: Any


def batches(length, config=CONFIG, parts=PARTS, size=8):
    return Batches(numbered(), config, parts, size, length)


def seen_by(given, replicas, starts, *, streams=False, seed=5):
    """Returns `{part: Batch}` of the steps that follow `starts`, leaves `[steps, B, ...]`."""

    def step(state, drawn, data):
        del data
        own = {name: part._replace(keys=jax.random.key_data(part.keys))
               for name, part in drawn.items()}  # fmt: skip
        return State(state.step + 1, state.key), own

    compiled = replicas.compile(given.scan(step, AXIS), own_data=streams)
    read = given.stream(replicas) if streams else replicas.share(given.resident())
    found = []
    for start in starts:
        state = State(jnp.int32(start), jax.random.key(seed))
        data = read.load(state.key, start) if streams else read
        _, infos = compiled(replicas.place(state), data)
        # From [replicas, steps, B of a replica, ...] to [steps, B, ...].
        found.append(jax.tree.map(
            lambda leaf: np.concatenate(list(np.asarray(leaf)), axis=1), infos
        ))  # fmt: skip
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)


def replicas(count=1, backend="pmap"):
    return Replicas.from_config(ParallelConfig(devices=count, backend=backend))


@functools.cache
def whole():
    """Eight steps of one device, in two calls of four."""
    return seen_by(batches(4), replicas(), (0, 4))


def check_same(found, expected):
    for part in PARTS:
        for name in ("inputs", "targets", "keys"):
            ours, theirs = getattr(found[part], name), getattr(expected[part], name)
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{part} {name}")


@pytest.mark.parametrize(
    ("count", "backend", "streams"),
    [(4, "pmap", False), (2, "shard_map", False), (1, "pmap", True), (4, "pmap", True)],
)
def test_batches_do_not_depend_on_replicas_or_residency(count, backend, streams):
    check_same(seen_by(batches(4), replicas(count, backend), (0, 4), streams=streams), whole())


@pytest.mark.parametrize(("length", "starts"), [(2, (0, 2, 4, 6)), (8, (0,)), (1, range(8))])
def test_batches_do_not_depend_on_how_many_steps_a_call_takes(length, starts):
    """An epoch of 21 examples in batches of 8 ends within a call, after two steps."""
    check_same(seen_by(batches(length), replicas(), starts), whole())


@pytest.mark.parametrize("streams", [False, True])
def test_a_run_that_is_resumed_reads_on_where_it_stopped(streams):
    late = seen_by(batches(4), replicas(), (4,), streams=streams)
    check_same(late, jax.tree.map(lambda leaf: leaf[4:], whole()))


def test_a_part_draws_from_its_own_rows_each_once_an_epoch():
    for part, rows in PARTS.items():
        targets = whole()[part].targets
        assert targets.shape == (8, 8)
        for epoch in range(4):
            drawn = targets[2 * epoch : 2 * epoch + 2].ravel().tolist()
            assert len(set(drawn)) == 16
            assert set(drawn) <= set(rows.tolist())
        assert targets[:2].tolist() != targets[2:4].tolist()


def test_parts_draw_and_augment_independently():
    """Two parts with the same rows see other batches, and other keys."""
    same = {"one": PARTS["weight"], "two": PARTS["weight"]}
    found = seen_by(batches(2, parts=same), replicas(), (0,))
    assert (found["one"].targets != found["two"].targets).any()
    keys = [row.tobytes() for part in found.values() for row in part.keys.reshape(-1, 2)]
    assert len(set(keys)) == len(keys) == 2 * 2 * 8


def test_another_key_draws_other_batches():
    other = seen_by(batches(4), replicas(), (0,), seed=6)
    assert (other["arch"].targets != whole()["arch"].targets[:4]).any()


def test_inputs_are_augmented_and_normalised():
    """Each is one of the 18 shifts and flips of its example; without, it is the example itself."""
    data = numbered()

    def scaled(image):
        return ((image / 255.0 - data.mean) / data.std).astype(np.float32)

    plain = seen_by(batches(2, DataConfig(shift=0, flip=False)), replicas(), (0,))["weight"]
    np.testing.assert_allclose(plain.inputs, scaled(data.train_inputs[plain.targets]), rtol=1e-5)
    drawn, varied = whole()["weight"], set()
    for image, target in zip(drawn.inputs.reshape(-1, 3, 3, 1), drawn.targets.ravel(), strict=True):
        padded = np.pad(data.train_inputs[target], ((1, 1), (1, 1), (0, 0)))
        variants = {
            (i, j, flip): padded[i : i + 3, j : j + 3][:, :: -1 if flip else 1]
            for i in range(3) for j in range(3) for flip in (False, True)
        }  # fmt: skip
        fitting = [
            name for name, variant in variants.items()
            if np.allclose(scaled(variant), image, atol=1e-5)
        ]  # fmt: skip
        assert fitting
        varied.add(fitting[0])
    assert len(varied) > 12


def test_a_replica_alone_needs_no_axis():
    """As a member of a population, whose rows are an input of the program."""

    def step(state, drawn, data):
        del data
        return State(state.step + 1, state.key), drawn["arch"].targets

    given = batches(4)
    run, data = jax.jit(given.scan(step, None)), given.resident()
    _, own = run(State(jnp.int32(0), jax.random.key(5)), data)
    np.testing.assert_array_equal(own, whole()["arch"].targets[:4])
    other = {**PARTS, "arch": PARTS["weight"][: len(PARTS["arch"])]}
    _, moved = run(State(jnp.int32(0), jax.random.key(5)), {**data, "rows": other})
    np.testing.assert_array_equal(moved, other["arch"][np.searchsorted(PARTS["arch"], own)])
