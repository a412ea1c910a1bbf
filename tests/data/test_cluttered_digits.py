"""Cluttered digits against scikit-learn's scans: how they are drawn, and of which digits."""

import dataclasses

import numpy as np
import pytest

from hwnas_jax.data import SOURCES, ClutteredDigits, Dataset, Digits
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part

STILL = ClutteredDigits(repeats=1, zoom=1.0, rotation=0.0, shift=0.0, clutter=0)
"""Every digit once, upright in the middle, by itself."""
FAINTEST = 0.7


def _enlarged(scans, size):
    """Returns scans enlarged to two thirds of the image, along one axis after the other."""
    at = (np.arange(size) - (size - 1) / 2) * 12 / size + 3.5
    known, padded = np.arange(-1, 9), np.pad(scans, ((0, 0), (1, 1), (1, 1)))
    weights = np.array([np.interp(at, known, row) for row in np.eye(10)])
    return np.einsum("nij,iy,jx->nyx", padded, weights, weights)


@pytest.mark.parametrize("size", [12, 17])
def test_a_digit_by_itself_is_the_enlarged_scan(size):
    digits, data = Digits().load(), dataclasses.replace(STILL, size=size).load()
    np.testing.assert_array_equal(data.train_targets, digits.train_targets)
    np.testing.assert_array_equal(data.test_targets, digits.test_targets)
    for part in ("train_inputs", "test_inputs"):
        images = getattr(data, part)[..., 0].astype(float)
        expected = _enlarged(getattr(digits, part)[..., 0].astype(float), size)
        light = (images * expected).sum((1, 2)) / (expected**2).sum((1, 2))
        assert FAINTEST - 0.01 < light.min() < 0.72 and 0.98 < light.max() < 1.01
        assert np.abs(images - light[:, None, None] * expected).max() < 1.5


def _moments(images):
    """Returns the centre of the light `[N, 2]` and its covariance `[N, 2, 2]`, in pixels."""
    axes = np.stack(np.meshgrid(*map(np.arange, images.shape[1:]), indexing="ij"), -1)
    axes = axes - (images.shape[1] - 1) / 2
    share = images / images.sum((1, 2), keepdims=True)
    centre = np.einsum("nij,ijk->nk", share, axes)
    from_it = axes - centre[:, None, None]
    return centre, np.einsum("nij,nijk,nijl->nkl", share, from_it, from_it)


def test_turns_and_sizes_are_as_drawn():
    """An ellipse of the same spread as the light is turned and scaled as the digit is."""
    source = dataclasses.replace(STILL, size=36, zoom=1.3, rotation=30.0)
    still, turned = (
        _moments(each.load().test_inputs[..., 0].astype(float))[1]
        for each in (dataclasses.replace(STILL, size=36), source)
    )
    scale = np.sqrt(np.trace(turned, axis1=1, axis2=2) / np.trace(still, axis1=1, axis2=2))
    assert 1 / 1.32 < scale.min() < 1 / 1.27 and 1.27 < scale.max() < 1.32
    assert abs(np.log(scale).mean()) < 0.03, "as often smaller as larger"
    directions = []
    for each in (still, turned):
        spread, axes = np.linalg.eigh(each)
        directions.append(np.arctan2(axes[:, 0, 1], axes[:, 1, 1]))
    long = spread[:, 1] > 2 * spread[:, 0]
    angle = np.rad2deg(directions[1] - directions[0])[long]
    angle = (angle + 90) % 180 - 90
    assert -32 < angle.min() < -27 and 27 < angle.max() < 32


def test_shifts_are_as_drawn():
    still, moved = (
        _moments(each.load().train_inputs[..., 0].astype(float))[0]
        for each in (STILL, dataclasses.replace(STILL, shift=0.1))
    )
    shift = moved - still  # at most 1.2 pixels, which cuts nothing off
    np.testing.assert_allclose(shift.min(axis=0), -1.2, atol=0.05)
    np.testing.assert_allclose(shift.max(axis=0), 1.2, atol=0.05)
    np.testing.assert_allclose(shift.std(axis=0), 2.4 / np.sqrt(12), rtol=0.05)


def test_clutter_is_laid_over_the_digit_and_is_darker():
    plain, one, many = (
        dataclasses.replace(STILL, clutter=clutter, brightness=0.5).load().train_inputs.astype(int)
        for clutter in (0, 1, 4)
    )
    for more, fewer in ((one, plain), (many, one)):
        assert (more >= fewer).all()
        assert more[more > fewer].max() in range(120, 129)
    covered = [(images > plain).mean() for images in (one, many)]
    assert 0 < covered[0] < covered[1] < 1


@pytest.mark.parametrize("brighter", ["train", "test"])
def test_no_digit_is_in_both_parts(monkeypatch, brighter):
    """With grey squares in place of the digits, each part shows the grey of its own alone."""
    labels = np.arange(30, dtype=np.int32) % 10
    grey = {part: 200 if part == brighter else 100 for part in ("train", "test")}
    squares = {part: np.full((30, 8, 8, 1), value, np.uint8) for part, value in grey.items()}
    made = Dataset(
        "squares", squares["train"], labels, squares["test"], labels, tuple("0123456789")
    )
    monkeypatch.setattr(Digits, "load", lambda self: made)
    data = ClutteredDigits(clutter=8, brightness=1.0, piece=3.0).load()
    for part, value in grey.items():
        images = getattr(data, f"{part}_inputs")
        assert images.shape == (16 * 30, 12, 12, 1)
        assert FAINTEST * value - 1 < images.max((1, 2, 3)).min()
        assert images.max() in range(value - 3, value + 1)


def test_noise_has_the_deviation_it_says():
    clean, noisy = (
        dataclasses.replace(STILL, clutter=2, noise=noise).load().train_inputs.astype(float)
        for noise in (0.0, 0.1)
    )
    grey = (clean > 100) & (clean < 155)  # so far from black and white that nothing is cut off
    difference = (noisy - clean)[grey]
    assert difference.std() == pytest.approx(25.5, rel=0.02)
    assert abs(difference.mean()) < 0.5


def test_what_is_there_to_learn_is_no_straight_line():
    data = dataclasses.replace(ClutteredDigits(), repeats=4).load()
    assert 0.1 < data.mean[0] < 0.3 and 0.15 < data.std[0] < 0.35
    train, test = (
        np.c_[x.reshape(len(x), -1) / 255.0, np.ones(len(x))]
        for x in (data.train_inputs, data.test_inputs)
    )
    gram = train.T @ train + 10 * np.eye(train.shape[1])
    answers = test @ np.linalg.solve(gram, train.T @ np.eye(10)[data.train_targets])
    assert 0.2 < (answers.argmax(1) == data.test_targets).mean() < 0.5


@pytest.mark.parametrize(
    ("option", "value"),
    [("size", 7), ("repeats", 0), ("zoom", 0.9), ("rotation", 181.0), ("shift", 0.6),
     ("clutter", -1), ("piece", 9.5), ("brightness", 0.0), ("noise", 1.5), ("seed", -1)],
)  # fmt: skip
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(UserError, match=rf"{option}.*{value}"):
        SOURCES.make(Part("cluttered_digits", {option: value}))
