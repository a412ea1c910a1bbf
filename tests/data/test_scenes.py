"""Made scenes: what is asked is what is seen."""

import functools

import jax
import numpy as np
import pytest

from hwnas_jax.data.scenes import ASKED, KINDS, SURFACES, Scenes, render
from hwnas_jax.data.together import unpack
from hwnas_jax.errors import UserError
from tests.data import contract

SKY, GROUND, WALL, SPHERE, BOX, CONE = range(len(SURFACES))


@functools.cache
def seen():
    return jax.tree.map(
        np.asarray, jax.jit(render, static_argnums=(1, 2))(jax.random.key(1), 200, 24)
    )


def test_the_source_keeps_the_contract():
    data = contract.check(lambda: Scenes(examples=300, size=12))
    assert data.train_inputs.shape == (240, 12, 12, 3) and data.train_inputs.dtype == np.uint8
    assert [part.task for part in data.parts] == ["classification", "segmentation", "autoencoding"]


@pytest.mark.parametrize("question", ASKED)
def test_one_question_alone_is_what_it_is_among_others(question):
    alone = Scenes(tasks=(question,), examples=40, size=8).load()
    both = Scenes(tasks=("room_layout", "class_scene", "normal"), examples=40, size=8).load()
    assert alone.parts == () and alone.task == ASKED[question].task
    np.testing.assert_array_equal(alone.test_inputs, both.test_inputs)
    if question in ("room_layout", "class_scene", "normal"):
        found = unpack(both.train_targets, both.parts)[question]
        np.testing.assert_array_equal(found, alone.train_targets)


def test_surfaces_fit_the_kind_of_scene():
    for kind, surfaces in zip(seen().kinds, seen().surfaces, strict=True):
        assert (SKY in surfaces) == (KINDS[kind] == "field") and GROUND in surfaces
        assert (WALL in surfaces) == (KINDS[kind] != "field")
        assert surfaces.max() >= SPHERE


def test_the_ground_begins_at_the_horizon():
    place = (np.arange(24) + 0.5) / 24
    for horizon, surfaces in zip(seen().layouts[:, 0], seen().surfaces, strict=True):
        assert (surfaces[place < horizon] != GROUND).all()
        assert np.isin(surfaces[place > horizon], (GROUND, SPHERE, BOX, CONE)).all()


def test_normals_are_unit_vectors_where_there_is_a_surface():
    length = np.linalg.norm(seen().normals, axis=-1)
    np.testing.assert_allclose(length, seen().surfaces != SKY, atol=1e-5)
    np.testing.assert_allclose(np.ptp(seen().normals[seen().surfaces == GROUND], 0), 0, atol=1e-6)
    assert (seen().normals[..., 2] >= -1e-6).all(), "a surface is turned away from the viewer"


def test_brightness_is_that_of_lambert():
    """All pixels of one side of a solid have one colour, times how far they face the light."""
    light = np.concatenate([seen().layouts[:, 1:], np.zeros((200, 1))], 1)
    light[:, 2] = np.sqrt(1 - np.square(light).sum(1))
    for number in range(50):
        image, surfaces = seen().images[number], seen().surfaces[number]
        wall = surfaces == WALL
        if not wall.any():
            continue
        facing = np.maximum(seen().normals[number] @ light[number], 0)
        colours = image[wall] / (0.25 + 0.75 * facing[wall])[:, None]
        np.testing.assert_allclose(colours, np.broadcast_to(colours[0], colours.shape), rtol=1e-4)


def test_the_object_is_the_solid_with_most_pixels():
    largest = np.asarray(ASKED["class_object"].targets(seen()))
    for kind, surfaces in zip(largest, seen().surfaces, strict=True):
        pixels = [(surfaces == solid).sum() for solid in (SPHERE, BOX, CONE)]
        assert pixels[kind] == max(pixels) > 0
    assert np.bincount(largest).min() > 20


def test_a_question_asked_twice():
    with pytest.raises(UserError, match="a task stands twice in normal, normal"):
        Scenes(tasks=("normal", "normal")).load()
