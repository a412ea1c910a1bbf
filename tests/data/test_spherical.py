"""Images on a sphere: rotations, rays and what is refused."""

import dataclasses

import numpy as np
import pytest

from hwnas_jax.data import Dataset, Spherical
from hwnas_jax.data.spherical import project, random_rotations
from hwnas_jax.errors import UserError


def test_rotations_are_rotations_and_reach_every_position():
    found = random_rotations(np.random.default_rng(0), 20_000, 1.0)
    identity = np.broadcast_to(np.eye(3), found.shape)
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), identity, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(found), 1.0)
    # Of uniform rotations the entries have mean zero and mean square a third.
    np.testing.assert_allclose(found.mean(0), 0.0, atol=4 / np.sqrt(3 * 20_000))
    np.testing.assert_allclose(np.square(found).mean(0), 1 / 3, atol=0.01)
    traces = np.trace(found, axis1=1, axis2=2)
    assert np.square(traces).mean() == pytest.approx(1.0, abs=0.05)
    none = random_rotations(np.random.default_rng(0), 5, 0.0)
    np.testing.assert_allclose(none, np.broadcast_to(np.eye(3), none.shape), atol=1e-12)


def brightness(x, y):
    return 100 + 40 * x + 25 * np.sin(2 * y)


def test_a_point_of_the_sphere_shows_where_its_ray_meets_the_image():
    size, bandwidth = 96, 5
    middles = (np.arange(size) + 0.5) / size * 3 - 1.5
    image = brightness(middles[:, None], middles).astype(np.float32)[None, :, :, None]
    turn = random_rotations(np.random.default_rng(4), 1, 1.0)
    found = project(image, turn, bandwidth)[0, :, :, 0]
    pole, shown = np.array([0.0, 0.0, 2.0]), 0
    for row in range(2 * bandwidth):
        for column in range(2 * bandwidth):
            down, around = np.pi * row / (2 * bandwidth), np.pi * column / bandwidth
            point = turn[0] @ [
                np.sin(down) * np.cos(around), np.sin(down) * np.sin(around), np.cos(down)
            ] + [0, 0, 1]  # fmt: skip
            # The ray is pole + length * (point - pole); it meets the image at height zero.
            length = -pole[2] / (point - pole)[2]
            x, y, height = pole + length * (point - pole)
            assert height == pytest.approx(0, abs=1e-9)
            inside = max(abs(x), abs(y)) < 1.5
            shown += inside
            expected = brightness(x, y) if inside else 0.0
            assert found[row, column] == pytest.approx(expected, abs=0.6 if inside else 0)
    assert 20 < shown < 4 * bandwidth**2 - 10


def test_bytes_stay_bytes_and_targets_stay():
    plain = Spherical(turn=0.0, bandwidth=6)
    data, real = plain.load(), plain.real()
    assert data.train_inputs.shape == (len(real.train_inputs), 12, 12, 1)
    assert data.train_inputs.dtype == np.uint8
    assert data.train_inputs.max() <= real.train_inputs.max()
    np.testing.assert_array_equal(data.test_targets, real.test_targets)
    assert data.output_names == real.output_names
    assert not data.movable
    # The upper half of a sphere that is not turned lies beyond the image, but for its corners.
    assert not data.train_inputs[:, :5].any()
    assert (data.train_inputs[:, 9:].reshape(len(data.train_inputs), -1).max(1) > 0).all()
    turned = dataclasses.replace(plain, turn=1.0).load()
    assert turned.train_inputs[:, :5].any(axis=(1, 2, 3)).mean() > 0.8


@pytest.mark.parametrize(
    ("inputs", "targets", "said"),
    [
        (np.zeros((4, 9, 2), np.float32), np.zeros(4, np.int32), "has sequences"),
        (np.zeros((4, 6, 6, 1), np.uint8), np.zeros((4, 6, 6), np.int32), "for each pixel"),
    ],
)
def test_what_has_no_place_on_a_sphere_is_refused(inputs, targets, said):
    real = Dataset("plane", inputs, targets, inputs, targets, ("a", "b"))
    with pytest.raises(UserError, match=said):
        Spherical().remake(real)
