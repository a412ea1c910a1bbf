"""Data sets of Python's own arrays, and of the raw parts of any source."""

import re

import numpy as np
import pytest

from hwnas_jax.data import arrays
from hwnas_jax.data.own.parts import Meaning, Raw, make_dataset
from hwnas_jax.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 5, 7), dtype=np.uint8)
LABELS = np.arange(30) % 3


def test_train_and_test_arrays():
    data = arrays(IMAGES[:20], LABELS[:20], IMAGES[20:], LABELS[20:], names=["a", "b", "c"])
    np.testing.assert_array_equal(data.train_inputs[..., 0], IMAGES[:20])
    np.testing.assert_array_equal(data.test_inputs[..., 0], IMAGES[20:])
    assert data.test_targets.tolist() == LABELS[20:].tolist()
    assert (data.output_names, data.task, data.notes) == (("a", "b", "c"), "classification", ())


def test_a_share_of_every_class_is_held_out():
    data = arrays(IMAGES.tolist(), LABELS.tolist(), test_fraction=0.3, name="mine")
    assert np.bincount(data.test_targets).tolist() == [3, 3, 3]
    assert data.name == "mine"
    assert data.notes == ("there is no test part: 9 examples of 30 are held out as one",)
    label_of = {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    for part in ("train", "test"):
        inputs, targets = getattr(data, f"{part}_inputs"), getattr(data, f"{part}_targets")
        assert [label_of[image[..., 0].tobytes()] for image in inputs] == targets.tolist()


def test_values_and_sequences():
    signals = RNG.standard_normal((20, 9, 2))
    data = arrays(signals, signals[:, 0], layout="NLC", names=["left", "right"])
    assert (data.input_shape, data.task) == ((1, 9, 2), "regression")
    assert data.output_names == ("left", "right")
    np.testing.assert_array_equal(data.train_targets, data.train_inputs[:, 0, 0])


def test_validation_examples_join_the_train_examples():
    parts = {
        "train": Raw(IMAGES[:10], LABELS[:10]),
        "validation": Raw(IMAGES[10:16], LABELS[10:16]),
        "test": Raw(IMAGES[16:], LABELS[16:]),
    }
    data = make_dataset("x", parts, Meaning())
    np.testing.assert_array_equal(data.train_inputs[..., 0], IMAGES[:16])
    assert data.train_targets.tolist() == LABELS[:16].tolist()
    assert any("6 validation examples joined the train examples" in note for note in data.notes)


def test_constant_images_are_told():
    images = IMAGES.copy()
    images[[4, 20, 21]] = 7
    data = arrays(images[:20], LABELS[:20], images[20:], LABELS[20:])
    assert data.notes == (
        "1 of 20 train inputs hold one value only, the first is number 4 (counted from 0)",
        "2 of 10 test inputs hold one value only, the first is number 0 (counted from 0)",
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((IMAGES, LABELS[:-1]), "data set arrays: train has 30 inputs but 29 targets"),
        ((IMAGES, LABELS, IMAGES), "test_inputs and test_targets are given both, or neither"),
        ((IMAGES, LABELS, IMAGES[:, :4], LABELS), r"one size, got train \[5, 7, 1\], test \[4, 7"),
        ((IMAGES, LABELS, IMAGES[:0], LABELS[:0]), r"test targets must be .*got int64\[0\]"),
        ((IMAGES * 0, LABELS), "all 30 train inputs are the same"),
        (([[1], [1, 2]], [0, 1]), "inputs are no array: examples differ in size"),
        ((3, [0]), "inputs are no array: int"),
        ((np.full((4, 2, 2, 1), np.nan), [0, 1, 0, 1]), "inputs must be finite; example 0"),
        ((np.full((4, 2, 2, 1), 1e300), [0, 1, 0, 1]), "inputs must be finite|are the same"),
        ((IMAGES[:3], [0, 1, 1]), None),
        ((IMAGES[:2], [0, 1]), "leaves nothing held out"),
    ],
)
def test_mistakes_are_named(given, message):
    if message is None:
        assert len(arrays(*given).test_inputs) == 1
        return
    with pytest.raises(UserError, match=message):
        arrays(*given)


def test_there_must_be_a_train_part():
    with pytest.raises(UserError, match=re.escape("set x: there is no train part, only test")):
        make_dataset("x", {"test": Raw(IMAGES, LABELS)}, Meaning(), where="set x")
