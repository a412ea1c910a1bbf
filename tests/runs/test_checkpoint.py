"""Checkpoints: the state comes back to the bit, and damage is named."""

import errno
import shutil
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


def test_a_step_can_be_gone_back_to_again_and_again(folder):
    for number in range(3):
        checkpoints = Checkpoints(folder)
        assert checkpoints.restore(state(0), step=2)[0] == 2
        checkpoints.save(3, state(3 + number))
        checkpoints.close()
    names = {path.name for path in folder.iterdir()}
    assert {"3.set-aside", "3.set-aside-2", "3.set-aside-3"} <= names
    assert Checkpoints(folder).restore(state(0))[1].weights[1] == 5  # the last that was saved


def test_a_checkpoint_of_no_step_there_is(folder):
    """A folder that was copied from elsewhere, or renamed."""
    shutil.copytree(folder / "3", folder / "777")
    match = r"777 is damaged \(all ends at step 200\).*--from-step 3"
    with pytest.raises(UserError, match=match):
        Checkpoints(folder, last=200).restore(state(0))
    step, _ = Checkpoints(folder, last=200).restore(state(0), step=3)
    assert step == 3 and (folder / "777.set-aside").is_dir()


def test_a_renamed_checkpoint(folder):
    (folder / "3").rename(folder / "100")
    with pytest.raises(UserError, match=r"100 is damaged \(it holds step 3\).*--from-step 2"):
        Checkpoints(folder, last=200).restore(state(0))


def test_an_empty_folder_in_the_place_of_a_checkpoint(folder):
    (folder / "100").mkdir()
    with pytest.raises(UserError, match=r"100 is damaged .*--from-step 3"):
        Checkpoints(folder, last=200).restore(state(0))


def test_a_full_disk_leaves_the_last_whole_checkpoint(folder, monkeypatch):
    """As TensorStore says it: by an error of its own, after a part has been written."""
    words = "RESOURCE_EXHAUSTED: Failed to write 9 bytes: No space left on device [os_error=28]"
    checkpoints = Checkpoints(folder)
    half = folder / "4.orbax-checkpoint-tmp"

    def fail(step, **options):
        half.mkdir()
        (half / "part").write_bytes(b"x")
        raise ValueError(words)

    monkeypatch.setattr(checkpoints._manager, "save", fail)
    with pytest.raises(OSError, match="No space left") as full:
        checkpoints.save(4, state(4))
    assert full.value.errno == errno.ENOSPC
    assert not half.exists()
    checkpoints.close()
    half.mkdir()
    again = Checkpoints(folder)
    assert not half.exists()
    step, restored = again.restore(state(0))
    assert step == 3
    np.testing.assert_array_equal(restored.weights, state(3).weights)


def test_other_errors_of_saving_stay_what_they_are(folder, monkeypatch):
    checkpoints = Checkpoints(folder)

    def fail(step, **options):
        raise ValueError("a bug")

    monkeypatch.setattr(checkpoints._manager, "save", fail)
    with pytest.raises(ValueError, match="a bug"):
        checkpoints.save(4, state(4))
