"""Made scenes with things to see in them, and what seven kinds of tasks ask about them.

Legend: `N` examples, `S` height and width in pixels.

A scene has a ground, what stands behind it, and one to three solids: a sphere, a box, a cone. They
are lit from one direction, and a surface is as bright as it is turned to the light (Lambert). What
is asked is what the tasks of TransNAS-Bench-101 ask about photographs of rooms (Duan et al., CVPR
2021): the object, the scene, its layout, the class and the direction of every pixel's surface, and
the picture itself. The colours are drawn at random and say nothing.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Le, Len, Lt

from hwnas_jax.data.base import SOURCES, Source
from hwnas_jax.data.dataset import Dataset, together
from hwnas_jax.errors import UserError

SURFACES = ("sky", "ground", "wall", "sphere", "box", "cone")
KINDS = ("field", "room", "corner", "tiles")
SOLIDS = SURFACES[3:]
LAYOUT = ("horizon", "light from the right", "light from above")
_MOST = 3
"""Solids in a scene at most."""
Question = Literal[
    "class_object", "class_scene", "room_layout", "segmentsemantic", "normal", "autoencoder"
]


class Pictures(NamedTuple):
    """Scenes as they are seen.

    Attributes:
      images: `float32[N, S, S, 3]`, from 0 to 1, without noise.
      surfaces: `int32[N, S, S]`, numbers in `SURFACES`.
      normals: `float32[N, S, S, 3]`: unit vectors to the right, up, and to the viewer; zero where
        there is sky.
      kinds: `int32[N]`, numbers in `KINDS`.
      layouts: `float32[N, 3]`, as `LAYOUT` names them.
    """

    images: jax.Array
    surfaces: jax.Array
    normals: jax.Array
    kinds: jax.Array
    layouts: jax.Array


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Scenes(Source):
    """Images `uint8[N, size, size, 3]` of made scenes, and targets of one task or of several."""

    name = "scenes"
    summary = "made scenes, 16x16x3: objects, kinds, layout, surfaces, normals, pictures; built in"

    tasks: Annotated[tuple[Question, ...], Len(1)] = (
        "class_object", "segmentsemantic", "autoencoder",
    )  # fmt: skip
    """what is asked; of several, all are learned at once: class_object,normal"""
    examples: Annotated[int, Ge(20)] = 3000
    """how many, train and test together"""
    size: Annotated[int, Ge(8), Le(256)] = 16
    """height and width in pixels"""
    noise: Annotated[float, Ge(0), Le(1)] = 0.03
    """standard deviation of the noise on a pixel, whose brightness is from 0 to 1"""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share of the test set"""
    seed: Annotated[int, Ge(0)] = 0
    """of the draw"""

    def load(self) -> Dataset:
        """Returns the data set."""
        if len(set(self.tasks)) < len(self.tasks):
            raise UserError(f"data set {self.name}: a task stands twice in {', '.join(self.tasks)}")
        key, noise_key = jax.random.split(jax.random.key(self.seed))
        seen = jax.jit(render, static_argnums=(1, 2))(key, self.examples, self.size)
        noisy = seen.images + self.noise * jax.random.normal(noise_key, seen.images.shape)
        images = np.asarray(jnp.round(255 * jnp.clip(noisy, 0, 1)).astype(jnp.uint8))
        tested = round(self.examples * self.test_fraction)
        first = max(2, self.examples - max(tested, 2))
        sets: dict[str, Dataset] = {}
        for question in self.tasks:
            asked = ASKED[question]
            targets = np.asarray(asked.targets(seen))
            sets[question] = Dataset(
                name=self.name, task=asked.task, output_names=asked.output_names,
                train_inputs=images[:first], train_targets=targets[:first],
                test_inputs=images[first:], test_targets=targets[first:],
                movable=asked.task == "classification",
            )  # fmt: skip
        return together(self.name, sets) if len(sets) > 1 else next(iter(sets.values()))


class Asked(NamedTuple):
    """What a task asks about scenes.

    Attributes:
      task: what is learned.
      output_names: of the outputs.
      targets: from scenes to targets `[N, ...]`.
    """

    task: str
    output_names: tuple[str, ...]
    targets: Callable[[Pictures], jax.Array]


def _largest(seen: Pictures) -> jax.Array:
    """Returns which kind of solid has most pixels, `int32[N]`."""
    solids = jnp.arange(len(SURFACES) - len(SOLIDS), len(SURFACES))
    pixels = (seen.surfaces[..., None] == solids).sum((1, 2))
    return pixels.argmax(-1).astype(jnp.int32)


ASKED: dict[str, Asked] = {
    "class_object": Asked("classification", SOLIDS, _largest),
    "class_scene": Asked("classification", KINDS, lambda seen: seen.kinds),
    "room_layout": Asked("regression", LAYOUT, lambda seen: seen.layouts),
    "segmentsemantic": Asked("segmentation", SURFACES, lambda seen: seen.surfaces),
    "normal": Asked("surface_normals", ("right", "up", "to the viewer"), lambda seen: seen.normals),
    "autoencoder": Asked("autoencoding", ("red", "green", "blue"), lambda seen: seen.images),
}
"""The tasks, called as in TransNAS-Bench-101."""


def render(key: jax.Array, examples: int, size: int) -> Pictures:
    """Returns scenes drawn at random; pure, and vectorised over scenes.

    Args:
      key: random key.
      examples: `N`.
      size: `S`.
    """
    return jax.vmap(lambda one: Pictures(*_scene(one, size)))(jax.random.split(key, examples))


def _scene(key: jax.Array, size: int) -> tuple[jax.Array, ...]:
    keys = iter(jax.random.split(key, 12))
    kind = jax.random.randint(next(keys), (), 0, len(KINDS))
    horizon = jax.random.uniform(next(keys), (), minval=0.3, maxval=0.6)
    corner = jax.random.uniform(next(keys), (), minval=0.3, maxval=0.7)
    light = jax.random.uniform(next(keys), (2,), minval=jnp.array([-0.7, 0.1]), maxval=0.7)
    place = (jnp.arange(size) + 0.5) / size
    down, right = jnp.meshgrid(place, place, indexing="ij")

    surfaces, normals = _background(kind, horizon, corner, down, right)
    albedo = jax.random.uniform(next(keys), (len(SURFACES) + _MOST, 3), minval=0.35, maxval=1.0)
    colours = albedo[surfaces]
    squares = (jnp.floor(right * 6) + jnp.floor(down * 10)) % 2
    tiled = (kind == KINDS.index("tiles")) & (surfaces == SURFACES.index("ground"))
    colours = colours * jnp.where(tiled, 0.6 + 0.4 * squares, 1.0)[..., None]

    count = jax.random.randint(next(keys), (), 1, _MOST + 1)
    solids = jax.random.randint(next(keys), (_MOST,), 0, len(SOLIDS))
    # What stands lower in the picture is nearer, and hides what is behind it.
    bases = jnp.sort(jax.random.uniform(next(keys), (_MOST,), minval=horizon + 0.1, maxval=0.95))
    centres = jax.random.uniform(next(keys), (_MOST,), minval=0.15, maxval=0.85)
    radii = jax.random.uniform(next(keys), (_MOST,), minval=0.12, maxval=0.25)
    turns = jax.random.uniform(next(keys), (_MOST,), minval=0.3, maxval=1.2)
    for number in range(_MOST):
        radius = radii[number]
        across = (right - centres[number]) / radius
        up = (bases[number] - down) / radius  # from 0 at the base to 2 at the top
        inside, normal = jax.lax.switch(
            solids[number], (_sphere, _box, _cone), across, up, turns[number]
        )
        inside = inside & (number < count)
        surfaces = jnp.where(inside, solids[number] + SURFACES.index(SOLIDS[0]), surfaces)
        normals = jnp.where(inside[..., None], normal, normals)
        colours = jnp.where(inside[..., None], albedo[len(SURFACES) + number], colours)

    towards = jnp.array([light[0], light[1], jnp.sqrt(1 - jnp.square(light).sum())])
    turned = jnp.maximum((normals * towards).sum(-1), 0.0)
    sky = surfaces == SURFACES.index("sky")
    bright = jnp.where(sky, 1.0 - 0.4 * down, 0.25 + 0.75 * turned)
    layout = jnp.stack([horizon, light[0], light[1]])
    return colours * bright[..., None], surfaces, normals, kind, layout


def _background(kind, horizon, corner, down, right) -> tuple[jax.Array, jax.Array]:
    """Returns surfaces `int32[S, S]` and normals `float32[S, S, 3]` of a scene without solids."""
    ground = down > horizon
    behind = SURFACES.index("sky"), SURFACES.index("wall")
    back = jnp.where(kind == KINDS.index("field"), *behind)
    surfaces = jnp.where(ground, SURFACES.index("ground"), back)
    left = jnp.array([0.6, 0.0, 0.8]) * jnp.ones((*right.shape, 1))
    cornered = jnp.where((right < corner)[..., None], left, left * jnp.array([-1.0, 1.0, 1.0]))
    wall = jnp.where(kind == KINDS.index("corner"), cornered, jnp.array([0.0, 0.0, 1.0]))
    wall = jnp.where(kind == KINDS.index("field"), 0.0, wall)
    flat = jnp.array([0.0, 0.96, 0.28])
    return surfaces, jnp.where(ground[..., None], flat, wall)


def _sphere(across, up, turn) -> tuple[jax.Array, jax.Array]:
    """Returns which pixels are inside, and the normals there, of a sphere on the ground."""
    del turn
    high = up - 1
    square = jnp.square(across) + jnp.square(high)
    depth = jnp.sqrt(jnp.maximum(1 - square, 0.0))
    return square < 1, _unit(jnp.stack([across, high, depth], -1))


def _box(across, up, turn) -> tuple[jax.Array, jax.Array]:
    """Likewise of a box of which two sides are seen; it is turned about the vertical."""
    edge = jnp.cos(2 * turn) * 0.5
    inside = (jnp.abs(across) < 0.9) & (up > 0) & (up < 1.8)
    left = jnp.stack([-jnp.sin(turn), 0.0, jnp.cos(turn)])
    right = jnp.stack([jnp.cos(turn), 0.0, jnp.sin(turn)])
    return inside, jnp.where((across < edge)[..., None], left, right)


def _cone(across, up, turn) -> tuple[jax.Array, jax.Array]:
    """Likewise of a cone that stands on its base."""
    del turn
    half = jnp.maximum(1 - up / 2, 0.0)
    side = jnp.clip(across / jnp.maximum(half, 1e-6), -1.0, 1.0)
    inside = (jnp.abs(across) < half) & (up > 0) & (up < 2)
    depth = jnp.sqrt(jnp.maximum(1 - jnp.square(side), 0.0))
    return inside, _unit(jnp.stack([side, jnp.full_like(side, 0.5), depth], -1))


def _unit(vectors: jax.Array) -> jax.Array:
    length = jnp.sqrt(jnp.square(vectors).sum(-1, keepdims=True))
    return vectors / jnp.maximum(length, 1e-6)
