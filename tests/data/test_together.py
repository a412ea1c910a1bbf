"""Targets of several tasks side by side."""

import dataclasses

import numpy as np
import pytest

from hwnas_jax.data import Dataset, together
from hwnas_jax.data.stored import load_stored, save_dataset
from hwnas_jax.data.together import unpack
from hwnas_jax.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (10, 4, 5, 1)).astype(np.uint8)
TARGETS = {
    "objects": ("classification", (np.arange(10) % 3).astype(np.int32), ("a", "b", "c")),
    "masks": ("segmentation", RNG.integers(-1, 2, (10, 4, 5)).astype(np.int32), ("no", "yes")),
    "marks": ("multi_label", RNG.random((10, 2)) < 0.5, ("x", "y")),
    "depth": ("regression", RNG.random((10, 1)).astype(np.float32), ("metres",)),
}


def single(name, images=IMAGES):
    task, targets, names = TARGETS[name]
    return Dataset("one", images[:7], targets[:7], images[7:], targets[7:], names, task)


def test_every_task_gets_its_targets_back():
    data = together("all", {name: single(name) for name in TARGETS})
    assert data.train_targets.shape == (7, 1 + 20 + 2 + 1) and data.task == "several"
    assert data.output_names[:4] == ("objects: a", "objects: b", "objects: c", "masks: no")
    for targets, rows in ((data.train_targets, slice(0, 7)), (data.test_targets, slice(7, 10))):
        for name, found in unpack(targets, data.parts).items():
            assert found.dtype == TARGETS[name][1].dtype
            np.testing.assert_array_equal(found, TARGETS[name][1][rows])
    assert not data.movable
    assert together("two", {name: single(name) for name in ("objects", "marks")}).movable


def test_a_file_keeps_what_the_columns_are(tmp_path):
    data = together("all", {name: single(name) for name in TARGETS})
    save_dataset(data, tmp_path / "data.npz")
    again = load_stored(tmp_path / "data.npz")
    assert (again.parts, again.movable, again.task) == (data.parts, False, "several")
    np.testing.assert_array_equal(again.test_targets, data.test_targets)


def test_mistakes_are_named():
    one, two = single("objects"), single("masks")
    with pytest.raises(UserError, match="several tasks are at least two, got 1"):
        together("x", {"a": one})
    other = single("masks", IMAGES[::-1])
    with pytest.raises(
        UserError, match=r"a and b must have the same inputs, .*train inputs differ"
    ):
        together("x", {"a": one, "b": other})
    both = together("x", {"a": one, "b": two})
    with pytest.raises(UserError, match="b is for several tasks already"):
        together("y", {"a": one, "b": both})
    large = dataclasses.replace(one, train_targets=np.full(7, 2**24 + 1, np.int32))
    with pytest.raises(UserError, match="above 16,777,216 cannot be a target beside others"):
        together("x", {"a": large, "b": two})


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("parts", lambda array: array[0], r"parts must be text\[P\]"),
        ("parts", lambda array: array[:-1], r"train_targets must be float32\[N, 23\]"),
        ("parts", lambda array: array[:0], "several tasks have a part each"),
        ("parts", lambda array: array[:1], "several tasks have a part each"),
        ("parts", lambda array: np.append(array[:-1], "{}"), "parts"),
        ("parts", lambda array: np.char.replace(array, '"bool"', '"uint8"'), None),
        ("test_targets", lambda array: array + np.float32(0.5), "'objects' must be int32"),
        ("task", lambda array: np.array("regression"), "the task is 'regression'"),
    ],
)  # fmt: skip
def test_parts_that_are_not_those_of_the_targets_are_refused(tmp_path, name, change, said):
    path = tmp_path / "data.npz"
    save_dataset(together("all", {name: single(name) for name in TARGETS}), path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, name: change(arrays[name])})
    if said is None:
        assert load_stored(path).parts[2].dtype == "uint8"
        return
    with pytest.raises(UserError, match=said):
        load_stored(path)
