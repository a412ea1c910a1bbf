"""Dataset: validation, and moments against numpy."""

import dataclasses

import numpy as np
import pytest

from hwnas_jax.data import Dataset
from hwnas_jax.errors import UserError


def _parts(channels=3):
    rng = np.random.default_rng(0)
    return {
        "name": "toy",
        "train_inputs": rng.integers(0, 256, (50, 6, 5, channels), dtype=np.uint8),
        "train_targets": rng.integers(0, 4, 50).astype(np.int32),
        "test_inputs": rng.integers(0, 256, (9, 6, 5, channels), dtype=np.uint8),
        "test_targets": rng.integers(0, 4, 9).astype(np.int32),
        "class_names": ("a", "b", "c", "d"),
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_shape_classes_and_moments(channels):
    parts = _parts(channels)
    data = Dataset(**parts)
    assert data.input_shape == (6, 5, channels)
    assert data.num_outputs == 4
    scaled = parts["train_inputs"].astype(np.float64) / 255
    assert data.mean.dtype == data.std.dtype == np.float32
    np.testing.assert_allclose(data.mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(data.std, scaled.std(axis=(0, 1, 2)), rtol=1e-6)


def test_moments_over_several_chunks(monkeypatch):
    parts = _parts()
    monkeypatch.setattr("hwnas_jax.data.dataset._CHUNK", 7)
    scaled = parts["train_inputs"] / 255
    np.testing.assert_allclose(Dataset(**parts).std, scaled.std(axis=(0, 1, 2)), rtol=1e-6)


def test_constant_channel_has_deviation_one():
    parts = _parts()
    parts["train_inputs"][..., 1] = 77
    data = Dataset(**parts)
    assert data.std[1] == 1
    np.testing.assert_allclose(data.mean[1], 77 / 255, rtol=1e-6)


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Dataset(**_parts()).name = "other"


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("train_inputs", lambda v: v.astype(np.float32), r"train images must be uint8.*float32"),
        ("test_inputs", lambda v: v[..., 0], r"test images must be uint8.*\[9, 6, 5\]"),
        ("test_inputs", lambda v: v[:, :4], r"\(6, 5, 3\), test images \(4, 5, 3\)"),
        ("train_targets", lambda v: v.astype(np.int64), r"train labels must be int32.*int64"),
        ("test_targets", lambda v: v[:, None], r"test labels must be int32"),
        ("train_targets", lambda v: v[:-1], "50 images but 49 labels"),
        ("test_targets", lambda v: v + 1, "0..3.*from 1 to 4"),
        ("train_targets", lambda v: v - 1, "0..3.*from -1 to 2"),
    ],
)
def test_mistakes_are_named(key, change, message):
    parts = _parts()
    parts[key] = change(parts[key])
    with pytest.raises(UserError, match=message):
        Dataset(**parts)


def test_empty_part_is_refused():
    parts = _parts()
    parts["test_inputs"], parts["test_targets"] = (
        parts["test_inputs"][:0],
        parts["test_targets"][:0],
    )
    with pytest.raises(UserError, match="test images are empty"):
        Dataset(**parts)
