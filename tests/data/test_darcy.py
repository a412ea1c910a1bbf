"""The data set of Darcy flow: its media, its pressures, and what it refuses."""

import numpy as np
import pytest

from hwnas_jax.data import Darcy
from hwnas_jax.errors import UserError
from tests.data.test_diffusion import direct


def test_pressures_are_those_of_the_media():
    data = Darcy(examples=10, size=9, refine=1, modes=6).load()
    assert data.train_inputs.shape == (8, 9, 9, 1)
    assert data.task == "dense_regression"
    assert set(np.unique(data.train_inputs)) == {3.0, 12.0}
    for medium, pressure in zip(data.test_inputs[..., 0], data.test_targets[..., 0], strict=True):
        expected = direct(medium, np.ones_like(medium))
        np.testing.assert_allclose(pressure, expected, atol=2e-5 * expected.max())
    inside = data.train_targets[:, 1:-1, 1:-1]
    assert (inside > 0).all()
    assert data.train_targets.sum() == pytest.approx(inside.sum())


def test_a_finer_grid_shows_the_same_media_and_nearly_the_same_pressures():
    plain, finer, finest = (
        Darcy(examples=10, size=9, refine=refine, modes=6).load() for refine in (1, 4, 8)
    )
    np.testing.assert_array_equal(plain.train_inputs, finer.train_inputs)

    def apart(one, other):
        difference = np.square(one.train_targets - other.train_targets).sum((1, 2, 3))
        return np.sqrt(difference / np.square(other.train_targets).sum((1, 2, 3))).mean()

    assert apart(finer, finest) < apart(plain, finest) / 2
    assert apart(finer, finest) < 0.05


def test_chunks_do_not_show(monkeypatch):
    whole = Darcy(examples=11, size=9, refine=1, modes=6).load()
    monkeypatch.setattr("hwnas_jax.data.physics.darcy._POINTS", 4 * 9**2)
    pieces = Darcy(examples=11, size=9, refine=1, modes=6).load()
    np.testing.assert_array_equal(whole.train_inputs, pieces.train_inputs)
    np.testing.assert_allclose(whole.train_targets, pieces.train_targets, atol=1e-7)


def test_coordinates_are_channels():
    data = Darcy(examples=10, size=9, modes=4, coordinates=True).load()
    assert data.input_shape == (9, 9, 3)
    for row in (0, 3, 8):
        for column in (0, 5, 8):
            np.testing.assert_allclose(data.train_inputs[:, row, column, 1], row / 8)
            np.testing.assert_allclose(data.train_inputs[:, row, column, 2], column / 8)


def test_media_too_far_apart_are_refused():
    with pytest.raises(UserError, match=r"low = 1e-06 and high = 1000000\.0"):
        Darcy(examples=10, size=33, refine=1, low=1e-6, high=1e6).load()
