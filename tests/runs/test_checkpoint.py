"""Checkpoints: the state comes back to the bit, and damage is named."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.runs.checkpoint import Checkpoints


class State(NamedTuple):
    step: Any
    key: Any
    weights: Any
    optimizer: Any


def state(value):
    weights = jnp.arange(5000.0) * value
    optimizer = optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9)).init(weights)
    return State(jnp.int32(value), jax.random.key(value), weights, optimizer)


def bits(tree):
    def plain(leaf):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    return [plain(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.fixture
def folder(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2, 3):
        checkpoints.save(step, state(step))
    checkpoints.close()
    return tmp_path / "checkpoints"


def test_nothing_there(tmp_path):
    assert Checkpoints(tmp_path / "empty").restore(state(0)) is None


def test_round_trip(folder):
    step, restored = Checkpoints(folder).restore(state(0))
    assert step == 3
    assert type(restored) is State
    for ours, theirs in zip(bits(restored), bits(state(3)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_empty_array_comes_back(tmp_path):
    bare = state(1)._replace(weights=jnp.zeros((0, 3)))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, bare)
    checkpoints.close()
    _, restored = Checkpoints(tmp_path).restore(bare)
    assert restored.weights.shape == (0, 3) and restored.weights.dtype == jnp.float32
    assert int(restored.step) == 1


def damage(folder, step):
    """Overwrites the largest file of one checkpoint with noise."""
    files = [p for p in (folder / str(step) / "state").rglob("*") if p.is_file()]
    for path in sorted(files, key=lambda p: p.stat().st_size)[-2:]:
        size = path.stat().st_size
        path.write_bytes(np.random.default_rng(0).bytes(size))


def test_damage_is_named_and_the_newest_good_one_offered(folder):
    damage(folder, 3)
    with pytest.raises(UserError, match=r"3 is damaged.*--from-step 2"):
        Checkpoints(folder).restore(state(0))
    step, restored = Checkpoints(folder).restore(state(0), step=2)
    assert step == 2
    np.testing.assert_array_equal(restored.weights, state(2).weights)
    assert (folder / "3.set-aside").is_dir()


def test_all_damaged(folder):
    for step in (1, 2, 3):
        damage(folder, step)
    with pytest.raises(UserError, match="no other good one"):
        Checkpoints(folder).restore(state(0))


def test_unknown_step(folder):
    with pytest.raises(UserError, match=r"no checkpoint of step 7.*\[1, 2, 3\]"):
        Checkpoints(folder).restore(state(0), step=7)
