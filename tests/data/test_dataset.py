"""Dataset: validation, and moments against numpy."""

import dataclasses

import numpy as np
import pytest

from hwnas_jax.data import Dataset
from hwnas_jax.errors import UserError


def _parts(shape=(6, 5, 3), kind=np.uint8):
    rng = np.random.default_rng(0)

    def draw(count):
        values = rng.integers(0, 256, (count, *shape))
        return values.astype(kind) if kind == np.uint8 else (values / 7 + 1000).astype(kind)

    return {
        "name": "toy",
        "train_inputs": draw(50),
        "train_targets": rng.integers(0, 4, 50).astype(np.int32),
        "test_inputs": draw(9),
        "test_targets": rng.integers(0, 4, 9).astype(np.int32),
        "output_names": ("a", "b", "c", "d"),
    }


@pytest.mark.parametrize("chunk", [7, 4096])
@pytest.mark.parametrize(
    ("shape", "kind"),
    [((6, 5, 1), np.uint8), ((6, 5, 3), np.uint8), ((6, 5, 3), np.float32), ((9, 2), np.float32)],
)
def test_shape_outputs_and_moments(monkeypatch, shape, kind, chunk):
    monkeypatch.setattr("hwnas_jax.data.dataset._CHUNK", chunk)
    parts = _parts(shape, kind)
    data = Dataset(**parts)
    assert data.input_shape == (shape if len(shape) == 3 else (1, *shape))
    assert data.num_outputs == 4
    assert data.task == "classification"
    axes = tuple(range(len(shape)))
    scaled = parts["train_inputs"].astype(np.float64) / (255 if kind == np.uint8 else 1)
    assert data.mean.dtype == data.std.dtype == np.float32
    np.testing.assert_allclose(data.mean, scaled.mean(axes), rtol=1e-6)
    np.testing.assert_allclose(data.std, scaled.std(axes), rtol=1e-6)


@pytest.mark.parametrize(("kind", "value"), [(np.uint8, 77 / 255), (np.float32, 77)])
def test_constant_channel_has_deviation_one(kind, value):
    parts = _parts(kind=kind)
    parts["train_inputs"][..., 1] = 77
    data = Dataset(**parts)
    assert data.std[1] == 1
    assert data.std[0] != 1
    np.testing.assert_allclose(data.mean[1], value, rtol=1e-6)


@pytest.mark.parametrize(
    "targets",
    [
        lambda n: np.zeros((n, 4), bool),
        lambda n: np.zeros((n, 4), np.float32),
        lambda n: np.zeros((n, 6, 5), np.uint8),
        lambda n: np.zeros(n, np.float32),
    ],
)
def test_targets_of_other_tasks(targets):
    parts = _parts() | {"train_targets": targets(50), "test_targets": targets(9)}
    assert Dataset(**parts, task="mine").task == "mine"


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Dataset(**_parts()).name = "other"


def _spoilt(value):
    def spoil(array):
        array = array.astype(np.float32)
        array.reshape(len(array), -1)[5, 0] = value
        return array

    return spoil


@pytest.mark.parametrize(
    ("keys", "change", "message"),
    [
        ("train_inputs", lambda v: v.astype(np.float64), r"train inputs must be .*float64\[50, 6"),
        ("test_inputs", lambda v: v[..., 0], r"test inputs must be uint8\[N.*got uint8\[9, 6, 5\]"),
        ("train_inputs", lambda v: v[0].astype(np.float32)[0], r"must be .* got float32\[5, 3\]"),
        ("test_inputs", lambda v: v[:, :4], r"inputs uint8\[6, 5, 3\], a test example uint8\[4, 5"),
        ("test_inputs", lambda v: v.astype(np.float32), r"uint8.*a test example float32"),
        ("train_targets", lambda v: v.astype(np.int64), r"train targets must be .*got int64\[50\]"),
        ("train_targets", lambda v: v.astype(str), r"train targets must be .*got <U"),
        ("test_targets", lambda v: v[:, None], r"targets int32\[\], a test example int32\[1\]"),
        ("train_targets", lambda v: v[:-1], "train has 50 inputs but 49 targets"),
        ("train_inputs", _spoilt(np.nan), r"train inputs must be finite; example 5 \(counted from"),
        ("test_inputs", _spoilt(np.inf), "test inputs must be finite; example 5"),
        ("train_targets", _spoilt(-np.inf), "train targets must be finite; example 5"),
        ("output_names", lambda v: (), "output_names is empty"),
        ("test_inputs test_targets", lambda v: v[:0], "test inputs are empty: uint8"),
    ],
)
def test_mistakes_are_named(keys, change, message):
    parts = _parts()
    for key in keys.split():
        parts[key] = change(parts[key])
    with pytest.raises(UserError, match=f"data set toy: .*{message}"):
        Dataset(**parts)


def test_values_that_are_not_finite_are_found_in_every_chunk(monkeypatch):
    monkeypatch.setattr("hwnas_jax.data.dataset._CHUNK", 7)
    parts = _parts(kind=np.float32)
    parts["train_inputs"][40, 2, 3, 1] = np.nan
    with pytest.raises(UserError, match="train inputs must be finite; example 40"):
        Dataset(**parts)
