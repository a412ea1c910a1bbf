"""Targets of pixels, against what stands beside them."""

import numpy as np
import pytest

from hwnas_jax.data import arrays
from hwnas_jax.data.own.targets import make_targets
from hwnas_jax.errors import UserError

RNG = np.random.default_rng(0)
MASKS = RNG.integers(0, 3, (8, 4, 5))


def made(train, *, size=(4, 5), names=None, task=None, **others):
    parts = {"train": train, **others}
    return make_targets(parts, size, names=names, task=task, where="set x")


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
@pytest.mark.parametrize("extra", [(), (1,)])
def test_whole_numbers_are_the_classes_of_pixels(kind, extra):
    targets = made(MASKS.astype(kind).reshape(*MASKS.shape, *extra))
    assert (targets.task, targets.names, targets.notes) == ("segmentation", ("0", "1", "2"), ())
    assert targets.parts["train"].dtype == np.int32
    np.testing.assert_array_equal(targets.parts["train"], MASKS)


def test_masks_of_black_and_white_have_two_classes():
    targets = made(np.where(MASKS == 2, 255, 0), names=["ground", "road"])
    assert targets.names == ("ground", "road")
    np.testing.assert_array_equal(targets.parts["train"], MASKS == 2)
    assert targets.notes == ("the classes of pixels are the numbers '0', '255', in order",)


@pytest.mark.parametrize("void", [255, -1, -7])
def test_pixels_without_a_label(void):
    targets = made(np.where(MASKS == 2, void, MASKS))
    assert targets.names == ("0", "1")
    np.testing.assert_array_equal(targets.parts["train"], np.where(MASKS == 2, -1, MASKS))
    assert bool(targets.notes) == (void == 255)
    if void == 255:
        assert "255 have no label" in targets.notes[0]
        named = made(np.where(MASKS == 2, void, MASKS), names=["a", "b", "c"])
        np.testing.assert_array_equal(named.parts["train"], MASKS)


def test_floats_are_the_values_of_pixels():
    for values in (RNG.random((8, 4, 5)), RNG.random((8, 4, 5, 2))):
        targets = made(values)
        assert targets.task == "dense_regression"
        np.testing.assert_array_equal(
            targets.parts["train"], values.reshape(8, 4, 5, -1).astype(np.float32)
        )
    assert made(values, names=["x", "y"]).names == ("x", "y")
    colours = RNG.integers(0, 256, (8, 4, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(made(colours).parts["train"], colours.astype(np.float32))
    copied = made(colours, task="autoencoding")
    assert copied.task == "autoencoding"
    np.testing.assert_allclose(copied.parts["train"], colours / 255, rtol=1e-6)


def test_steps_of_sequences():
    signals, steps = RNG.standard_normal((10, 9, 2)), RNG.integers(0, 2, (10, 9))
    data = arrays(signals, steps, layout="NLC", task="segmentation")
    assert (data.input_shape, data.task) == ((1, 9, 2), "segmentation")
    assert data.train_targets.shape == (8, 1, 9) and not data.movable
    data = arrays(signals, signals[..., :1], layout="NLC")
    assert data.task == "dense_regression" and data.train_targets.shape == (8, 1, 9, 1)
    np.testing.assert_array_equal(data.train_targets, data.train_inputs[..., :1])


@pytest.mark.parametrize(
    ("train", "given", "message"),
    [
        (MASKS[:, :3], {}, r"each pixel of the 4x5 inputs, .*train targets are int64\[8, 3, 5\]"),
        (MASKS.reshape(8, 20), {"task": "segmentation"}, r"\[N, 4, 5\] or .* int64\[8, 20\]"),
        (0 * MASKS, {}, "have 1 different number; segmentation tells at least two"),
        (MASKS, {"names": ["a"]}, "1 class names are given, .* 3 different numbers: '0', '1', '2'"),
        (MASKS, {"test": MASKS + 2}, "pixels of the test targets have the number 3, which no"),
        (MASKS + 0.5, {"task": "segmentation"}, "must be whole numbers to be the classes of"),
        (RNG.random((8, 4, 5, 2)), {"task": "segmentation"}, "have 2 values for each pixel"),
        (RNG.random((8, 4, 5, 2)), {"names": ["a"]}, "1 names are given for 2 outputs"),
        (np.array([["a"] * 5] * 4), {"task": "segmentation"}, "needs numbers, the targets are t"),
        (np.zeros((8, 4, 5, 1, 1)), {}, r"\[N, H, W\] or \[N, H, W, values\]; got float64"),
    ],
)
def test_refusals(train, given, message):
    with pytest.raises(UserError, match=message):
        made(train, **given)
