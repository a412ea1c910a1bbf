"""Axes and types of inputs: what is understood, what is asked for."""

import numpy as np
import pytest

from hwnas_jax.data.own.inputs import constant_inputs, make_inputs
from hwnas_jax.errors import UserError

RNG = np.random.default_rng(0)


def made(array, layout=None, **others):
    return make_inputs({"train": np.asarray(array), **others}, layout, "set x")["train"]


def drawn(shape, kind=np.uint8, high=256):
    return RNG.integers(0, high, shape).astype(kind)


@pytest.mark.parametrize(
    ("shape", "layout", "order"),
    [
        ((5, 6, 8), None, lambda x: x[..., None]),
        ((5, 6, 8, 3), None, lambda x: x),
        ((5, 6, 8, 7), "NHWC", lambda x: x),
        ((5, 3, 6, 8), "NCHW", lambda x: np.moveaxis(x, 1, 3)),
        ((5, 3, 6, 8), "NHWC", lambda x: x),
        ((5, 3, 2, 4), None, lambda x: x),
    ],
)
def test_axes_of_images(shape, layout, order):
    images = drawn(shape)
    result = made(images, layout)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, order(images))


@pytest.mark.parametrize(
    ("shape", "layout", "order"),
    [
        ((5, 12, 2), "NLC", lambda x: x),
        ((5, 2, 12), "NCL", lambda x: x.transpose(0, 2, 1)),
        ((5, 12), "NL", lambda x: x[..., None]),
    ],
)
def test_axes_of_sequences(shape, layout, order):
    for kind in (np.float64, np.uint8):
        values = drawn(shape, kind)
        result = made(values, layout)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, order(values))


@pytest.mark.parametrize(
    ("kind", "high", "result"),
    [
        (np.uint8, 256, np.uint8),
        (bool, 2, np.uint8),
        (np.int64, 256, np.uint8),
        (">i2", 256, np.uint8),
        (np.uint16, 65536, np.float32),
        (np.int32, 257, np.float32),
        (np.float16, 256, np.float32),
        (np.float64, 256, np.float32),
    ],
)
def test_types(kind, high, result):
    images = drawn((4, 3, 5, 1), kind, high)
    images[0, 0, 0, 0] = high - 1
    read = made(images)
    assert read.dtype == result
    np.testing.assert_array_equal(read.astype(np.float64), images.astype(np.float64))


def test_all_parts_get_one_type():
    small, large = drawn((3, 2, 2, 1), np.int64), drawn((3, 2, 2, 1), np.int64) + 1000
    for train, test in ((small, large), (large, small)):
        parts = make_inputs({"train": train, "test": test}, None, "set x")
        assert {array.dtype for array in parts.values()} == {np.dtype(np.float32)}
    assert made(-small - 1).dtype == np.float32


@pytest.mark.parametrize(
    ("array", "layout", "message"),
    [
        (drawn((5, 3, 6, 8)), None, r"uint8\[5, 3, 6, 8\].*channels came first: say layout NCHW"),
        (drawn((5, 6, 8), float), None, r"float64\[5, 6, 8\]: say layout NHW if they are grey"),
        (drawn((5, 64)), None, r"say layout NL if they are sequences of one channel; images need"),
        (drawn((5,)), None, r"must be images \[N, H, W\] .*got uint8\[5\]"),
        (drawn((5, 1, 1, 1, 1)), None, r"must be images"),
        (drawn((5, 6, 8)), "NHWC", r"layout NHWC has 4 axes, train inputs are uint8\[5, 6, 8\]"),
        (np.array(["a", "b"]), None, "must be numbers or truth values, got <U1"),
        (np.zeros((2, 2, 2, 1), complex), None, "must be numbers"),
    ],
)
def test_what_is_in_doubt_or_no_input_is_refused(array, layout, message):
    with pytest.raises(UserError, match=f"set x: .*{message}"):
        made(array, layout)


def test_parts_on_different_scales_are_refused():
    with pytest.raises(UserError, match="train inputs are integers, test inputs are floats"):
        made(drawn((3, 2, 2, 1)), test=drawn((3, 2, 2, 1), float))


def test_constant_inputs_are_found_in_every_chunk(monkeypatch):
    monkeypatch.setattr("hwnas_jax.data.own.inputs._CHUNK", 4)
    images = drawn((11, 3, 4, 1))
    images[[2, 9]] = 7
    assert constant_inputs(images).tolist() == [2, 9]
