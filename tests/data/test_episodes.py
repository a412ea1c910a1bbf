"""Episodes: classes apart, examples drawn once, mistakes named."""

import dataclasses

import jax
import numpy as np
import pytest

from hwnas_jax.data.episodes import (
    EpisodeShape,
    check_examples,
    draw_episode,
    episode_rows,
    make_pool,
    split_classes,
)
from hwnas_jax.errors import UserError
from tests.search.meta.toy import shades

SHAPE = EpisodeShape(2, 2, 3)


@pytest.mark.parametrize(
    ("count", "way", "sizes"),
    [(10, 5, (5, 0, 5)), (100, 5, (60, 20, 20)), (20, 5, (10, 5, 5)), (64, 20, (44, 0, 20))],
)
def test_classes_are_divided(count, way, sizes):
    split = split_classes(count, way, 0)
    assert tuple(map(len, split)) == sizes
    assert sorted(sum(split, ())) == list(range(count))
    assert split == split_classes(count, way, 0) != split_classes(count, way, 1)
    assert tuple(map(len, split_classes(count, way, 0, (way, 0, way)))) == (way, 0, way)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((10, 6, 0), "6-way episodes need 12 classes.*there are 10.*at most 5-way"),
        ((10, 3, 0, (4, 2, 4)), "leaves 2 validation classes; 3-way .*or none at all"),
        ((10, 3, 0, (2, 0, 8)), "leaves 2 train classes; 3-way episodes need at least 3"),
        ((10, 3, 0, (6, 0, 6)), "of the 10 that there are"),
    ],
)
def test_too_few_classes_are_refused(asked, said):
    with pytest.raises(UserError, match=said):
        split_classes(*asked)


def test_too_few_images_are_refused():
    with pytest.raises(UserError, match=r"takes 9 images.*test classes shade 1 \(8\), shade 3"):
        check_examples(shades(), (1, 3), EpisodeShape(2, 4, 5), "test")
    check_examples(shades(), (1, 3), EpisodeShape(2, 3, 5), "test")


def test_a_pool_holds_every_image_of_its_classes():
    pool, data = make_pool(shades(), (4, 1)), shades()
    every = np.concatenate([data.train_inputs, data.test_inputs])
    targets = np.concatenate([data.train_targets, data.test_targets])
    for row, count, number in zip(pool.rows, pool.counts, (4, 1), strict=True):
        own = {image.tobytes() for image in pool.inputs[row[:count]]}
        assert own == {image.tobytes() for image in every[targets == number]}
    pixels = every[np.isin(targets, (1, 4))] / 255
    np.testing.assert_allclose(pool.mean, [pixels.mean()], rtol=1e-5)
    np.testing.assert_allclose(pool.std, [pixels.std()], rtol=1e-4)


def test_examples_are_drawn_once_and_all_are_equally_likely():
    rows = np.array([[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 0], [11, 12, 13, 14, 15, 16]], np.int32)
    counts, shape = np.array([6, 5, 6], np.int32), EpisodeShape(2, 1, 2)
    keys = jax.random.split(jax.random.key(0), 3000)
    found = np.asarray(jax.jit(jax.vmap(lambda key: episode_rows(key, rows, counts, shape)))(keys))
    assert found.shape == (3000, 2, 3)
    classes = np.searchsorted([6, 11], found, side="right")
    assert (classes == classes[:, :, :1]).all()
    assert (classes[:, 0] != classes[:, 1]).all()
    assert all(len(set(row)) == 3 for episode in found for row in episode)
    # A class is in two of three episodes; each of its n examples is in three of n draws.
    seen = np.bincount(found.reshape(-1), minlength=17) / 3000
    expected = np.array([2 / 3 * 3 / 6] * 6 + [2 / 3 * 3 / 5] * 5 + [2 / 3 * 3 / 6] * 6)
    assert np.abs(seen - expected).max() < 5 * np.sqrt(0.25 / 3000)
    # Either of two classes comes first as often as the other.
    assert abs((classes[:, 0, 0] < classes[:, 1, 0]).mean() - 0.5) < 5 * np.sqrt(0.25 / 3000)


def test_an_episode_is_normalised_labelled_and_repeats():
    data = shades()
    pool = make_pool(data, (0, 2, 5))
    draw = jax.jit(lambda key: draw_episode(key, pool, SHAPE))
    episode = draw(jax.random.key(1))
    assert episode.support_inputs.shape == (4, 2, 2, 1) and episode.query_inputs.shape[0] == 6
    assert episode.support_targets.tolist() == [0, 0, 1, 1]
    assert episode.query_targets.tolist() == [0, 0, 0, 1, 1, 1]
    known = {image.tobytes(): row for row, image in enumerate(pool.inputs)}
    classes = {row: number for number, own in enumerate(pool.rows) for row in own.tolist()}
    back = np.asarray(episode.support_inputs) * pool.std * 255 + pool.mean * 255
    rows = [known[image.round().astype(np.uint8).tobytes()] for image in back]
    first, second = ({classes[row] for row in part} for part in (rows[:2], rows[2:]))
    assert len(first) == len(second) == 1 and first != second
    again, other = draw(jax.random.key(1)), draw(jax.random.key(2))
    np.testing.assert_array_equal(episode.query_inputs, again.query_inputs)
    assert (np.asarray(episode.query_inputs) != np.asarray(other.query_inputs)).any()


def test_sequences_make_episodes():
    data = shades()
    flat = {
        f"{part}_inputs": getattr(data, f"{part}_inputs").reshape(-1, 1, 4, 1).astype(np.float32)
        for part in ("train", "test")
    }
    pool = make_pool(dataclasses.replace(data, **flat), (0, 1))
    episode = draw_episode(jax.random.key(0), pool, SHAPE)
    assert episode.query_inputs.shape == (6, 1, 4, 1)
