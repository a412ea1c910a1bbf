"""Rendered images: a shape filled with a wave in a colour, on a background of another wave.

Legend: `N` images, `H, W` height and width, `C` channels, `P` classes.

All is rendered on the device, image by image from its own key and vectorised over many. In pixels,
`(x, y)` is the distance of a pixel to the middle of the image. Everything called random is uniform.

The shape has a random middle `m`, a random size `r` and a random angle; `(a, b)` is `(x, y) - m`,
turned by the angle and divided by `r`. With `e(a, b)` from the list of shapes below, which is
positive inside, a pixel is covered by

    cover = clip(1/2 + r * e(a, b), 0, 1)

All shapes have the same area, `pi r^2`. With a random direction `u` and a random phase `p`, the
wave of frequency `f` (in cycles per pixel) and the colour `t_c` of channel `c` make

    inside_c = t_c * (0.35 + 0.65 * (1 + cos(2 pi f (x, y).u + p)) / 2)
    t_c      = 0.55 + 0.45 * cos(2 pi (hue - c / 3))      for three channels, 1 for others

and the grey background, of random brightness `g` and with a wave of random frequency,

    outside  = g + 0.15 * cos(2 pi f' (x, y).u' + p')
    image_c  = cover * inside_c + (1 - cover) * outside + noise * normal

which is cut off at black and white and rounded to `uint8`.
"""

import dataclasses
import functools
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Interval, Le, Lt

from hwnas_jax.data.base import SOURCES, Source
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.pipeline import holdout
from hwnas_jax.data.unreal.remade import balanced
from hwnas_jax.errors import UserError

SHAPES = ("disc", "square", "triangle", "ring", "cross")
LOWEST, HIGHEST = 0.1, 0.4
"""Frequencies of the first and of the last class, in cycles per pixel."""

_SQUARE = np.sqrt(np.pi) / 2  # half its side
_INRADIUS = np.sqrt(np.pi / (3 * np.sqrt(3)))  # of the triangle
_OUTER, _INNER = 1.2, np.sqrt(1.2**2 - 1)  # radii of the ring
_ARM = np.sqrt(9 * np.pi / 20)  # of the cross, which is a third as wide as it is long
_CHUNK = 512


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Textures(Source):
    """Images `uint8[N, height, width, channels]`; shape, wave and colour make the class.

    The classes are all combinations of the first `shapes` of disc, square, triangle, ring and
    cross, of `waves` frequencies, and of `colours` hues. Place, size, angle, direction, phase and
    background are random. The same options give the same images on the same kind of device; another
    kind may round some values differently.
    """

    name = "textures"
    summary = "rendered shapes filled with waves, 16x16x3, 12 classes by default; made"

    height: Annotated[int, Interval(ge=8, le=512)] = 16
    """in pixels"""
    width: Annotated[int, Interval(ge=8, le=512)] = 16
    """in pixels"""
    channels: Annotated[int, Interval(ge=1, le=16)] = 3
    """values of each pixel; three are red, green and blue, others are all alike"""
    shapes: Annotated[int, Interval(ge=1, le=len(SHAPES))] = 3
    """how many shapes there are"""
    waves: Annotated[int, Interval(ge=1, le=4)] = 2
    """how many frequencies there are"""
    colours: Annotated[int, Interval(ge=1, le=6)] | None = None
    """how many hues there are; None takes two for three channels, otherwise one"""
    noise: Annotated[float, Interval(ge=0, le=1)] = 0.05
    """standard deviation of the noise on every pixel; one is from black to white"""
    examples: Annotated[int, Ge(20), Le(1_000_000)] = 6000
    """how many, train and test together"""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share of the test set"""
    seed: Annotated[int, Ge(0)] = 0
    """of the draw and of the split"""

    @property
    def classes(self) -> list[tuple[int, int, int]]:
        """Shape, wave and colour of every class, as their numbers."""
        return [
            (shape, wave, colour)
            for shape in range(self.shapes)
            for wave in range(self.waves)
            for colour in range(self._colours)
        ]

    @property
    def _colours(self) -> int:
        if self.colours is None:
            return 2 if self.channels == 3 else 1
        return self.colours

    def load(self) -> Dataset:
        """Returns the data set.

        Raises:
          UserError: when there is one class alone, or colours are asked for without three channels.
        """
        if self._colours > 1 and self.channels != 3:
            raise UserError(
                f"{self.name}: colours = {self.colours} need channels = 3, got {self.channels}; "
                "allowed is colours = 1"
            )
        if len(self.classes) < 2:
            raise UserError(
                f"{self.name}: shapes, waves and colours are all 1, which is one class; there must "
                "be two or more"
            )
        labels = balanced(self.examples, len(self.classes), np.random.default_rng(self.seed))
        images = self.render(labels)
        train, test = holdout(labels, self.test_fraction, self.seed)
        return Dataset(
            self.name, images[train], labels[train], images[test], labels[test],
            tuple(
                f"{SHAPES[shape]}, wave {wave + 1}, hue {colour + 1}"
                for shape, wave, colour in self.classes
            ),
        )  # fmt: skip

    def render(self, labels: np.ndarray) -> np.ndarray:
        """Returns an image of each class that is named, `uint8[N, H, W, C]`.

        Args:
          labels: `int32[N]`.
        """
        count = -(-len(labels) // _CHUNK) * _CHUNK
        parts = np.zeros((count, 3), np.int32)
        parts[: len(labels)] = np.array(self.classes, np.int32)[labels]
        size = (self.height, self.width, self.channels)
        made = _rendered(
            jax.random.key(self.seed), parts.reshape(-1, _CHUNK, 3), self.noise, size, self.waves,
            self._colours,
        )  # fmt: skip
        return np.asarray(made).reshape(count, *size)[: len(labels)]


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _rendered(key, parts, noise, size, waves, colours):
    def chunk(inputs):
        number, own = inputs
        keys = jax.random.split(jax.random.fold_in(key, number), _CHUNK)
        draw = functools.partial(_image, noise=noise, size=size, waves=waves, colours=colours)
        return jax.vmap(draw)(keys, own)

    return jax.lax.map(chunk, (jnp.arange(len(parts)), parts))


def _image(key, part, *, noise, size, waves, colours):
    """Returns one image, `uint8[H, W, C]`."""
    height, width, channels = size
    luck, grain = jax.random.split(key)
    place_x, place_y, radius, angle, hue, way, phase, light, *behind = jax.random.uniform(luck, 11)
    x = (jnp.arange(width) - (width - 1) / 2)[None, :]
    y = (jnp.arange(height) - (height - 1) / 2)[:, None]
    side = min(height, width)
    r = side * (0.26 + 0.14 * radius)
    down, right = y - 0.3 * side * (place_y - 0.5), x - 0.3 * side * (place_x - 0.5)
    sine, cosine = jnp.sin(2 * jnp.pi * angle), jnp.cos(2 * jnp.pi * angle)
    a, b = (cosine * right + sine * down) / r, (cosine * down - sine * right) / r
    cover = jnp.clip(0.5 + r * edges(a, b)[part[0]], 0, 1)

    def wave(frequency, way, phase):
        along = x * jnp.cos(2 * jnp.pi * way) + y * jnp.sin(2 * jnp.pi * way)
        return jnp.cos(2 * jnp.pi * (frequency * along + phase))

    own = jnp.asarray(frequencies(waves), jnp.float32)[part[1]]
    bright = 0.35 + 0.65 * (1 + wave(own, way, phase)) / 2
    tint = jnp.ones(channels)
    if channels == 3:
        turn = (part[2] + 0.5 * (hue - 0.5)) / colours
        tint = 0.55 + 0.45 * jnp.cos(2 * jnp.pi * (turn - jnp.arange(3) / 3))
    other = LOWEST + (HIGHEST - LOWEST) * behind[0]
    outside = 0.2 + 0.5 * light + 0.15 * wave(other, behind[1], behind[2])
    image = (cover * bright)[..., None] * tint + ((1 - cover) * outside)[..., None]
    image = image + noise * jax.random.normal(grain, size)
    return jnp.round(255 * jnp.clip(image, 0, 1)).astype(jnp.uint8)


def frequencies(waves: int) -> np.ndarray:
    """Returns the frequency of each wave in cycles per pixel, evenly spaced in their logarithms."""
    return np.geomspace(LOWEST, HIGHEST, waves) if waves > 1 else np.array([0.2])


def edges(a: jax.typing.ArrayLike, b: jax.typing.ArrayLike) -> jax.Array:
    """Returns `e(a, b)` of every shape, positive inside it, `float32[shapes, ...]`.

    It is the distance to the edge in units of the size, exactly so for disc and ring, and for the
    others where a straight edge is nearest.

    Args:
      a: `float32[...]`, to the right.
      b: `float32[...]`, down.
    """
    a, b = jnp.asarray(a), jnp.asarray(b)
    distance, across, along = jnp.hypot(a, b), jnp.abs(a), jnp.abs(b)
    corners = [2 * np.pi * k / 3 for k in range(3)]
    sides = jnp.stack([a * np.cos(corner) + b * np.sin(corner) for corner in corners])
    one_arm = jnp.minimum(_ARM - across, _ARM / 3 - along)
    other_arm = jnp.minimum(_ARM - along, _ARM / 3 - across)
    return jnp.stack([
        1 - distance,
        _SQUARE - jnp.maximum(across, along),
        _INRADIUS - sides.max(axis=0),
        jnp.minimum(_OUTER - distance, distance - _INNER),
        jnp.maximum(one_arm, other_arm),
    ])  # fmt: skip
