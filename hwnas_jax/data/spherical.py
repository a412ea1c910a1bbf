"""Images on a sphere that is turned at random.

Legend: `N` images, `H, W, C` height, width and channels of a plane image, `b` bandwidth.
"""

import dataclasses
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.unreal.remade import PARTS, Remade
from hwnas_jax.errors import UserError

_SIDE = 3.0
"""Of the square that an image covers; the sphere has the radius one and touches its middle."""
_CHUNK = 256


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Spherical(Remade):
    """Images of another source, seen on a sphere: `[N, 2b, 2b, C]`, of the same type and targets.

    The sphere lies on the middle of the image. A point of it is where the ray from its upper pole
    through that point meets the image (stereographic projection); what lies beyond the image is
    black. Rows are colatitudes `pi k / 2b`, columns longitudes `pi k / b`. Before that the sphere
    is turned, for each image anew, so that nothing is at a known place. What lies near a pole
    is spread over whole rows, so the same image has many forms.

    This is the preparation of spherical MNIST and of the spherical CIFAR-100 of NAS-Bench-360 (of =
    cifar100, bandwidth 30), but for two differences: values between pixels are bilinear, and an
    image's brightness is not stretched.

    References: Cohen et al., "Spherical CNNs", ICLR 2018; Arvo, "Fast Random Rotation Matrices",
    Graphics Gems III, 1992.
    """

    name = "spherical"
    summary = "images of another source (option of) on a sphere that is turned at random"

    bandwidth: Annotated[int, Ge(4), Le(128)] = 12
    """half the rows and columns of an image of the sphere"""
    turn: Annotated[float, Ge(0), Le(1)] = 1.0
    """how far the sphere is turned: 0 not at all, 1 to any position, all being as frequent"""

    def remake(self, real: Dataset) -> Dataset:
        """Returns the images on the sphere.

        Raises:
          UserError: when the source has sequences, or targets that belong to pixels.
        """
        of_pixels = real.train_targets.shape[1:3] == real.input_shape[:2]
        if real.is_sequence or of_pixels:
            held = "targets for each pixel" if of_pixels else "sequences"
            raise UserError(
                f"data set {self.name} needs images with one target each; {real.name} has {held}"
            )
        made = {
            part: project(
                getattr(real, f"{part}_inputs"),
                random_rotations(self.draws(part), len(getattr(real, f"{part}_inputs")), self.turn),
                self.bandwidth,
            )
            for part in PARTS
        }
        return dataclasses.replace(
            real, name=self.name, train_inputs=made["train"], test_inputs=made["test"],
            movable=False, notes=(*real.notes, f"{self.name}: the images are those of {real.name}"),
        )  # fmt: skip


def sphere(bandwidth: int) -> np.ndarray:
    """Returns the points of the grid, `float64[2b, 2b, 3]`, rows from the upper pole down."""
    down = np.pi * np.arange(2 * bandwidth)[:, None] / (2 * bandwidth)
    around = np.pi * np.arange(2 * bandwidth) / bandwidth
    return np.stack(
        [
            np.sin(down) * np.cos(around),
            np.sin(down) * np.sin(around),
            np.cos(down) * np.ones_like(around),
        ],
        axis=-1,
    )


def random_rotations(rng: np.random.Generator, count: int, turn: float) -> np.ndarray:
    """Returns rotations, `float64[N, 3, 3]`.

    Each turns about the upright axis, and then takes the pole to another place; `turn` is the share
    of all angles and places that are drawn from.
    """
    about, direction, far = rng.uniform(size=(3, count))
    # What takes the pole to its place turns by half a circle as well, which is taken back here.
    about, direction, far = np.pi * (1 + 2 * turn * about), 2 * np.pi * direction, 2 * turn * far
    cosine, sine, zero, one = np.cos(about), np.sin(about), np.zeros(count), np.ones(count)
    flat = np.stack([cosine, sine, zero, -sine, cosine, zero, zero, zero, one], axis=-1)
    towards = np.stack(
        [np.sin(direction) * np.sqrt(far), np.cos(direction) * np.sqrt(far), np.sqrt(2 - far)], -1
    )
    mirror = towards[:, :, None] * towards[:, None, :] - np.eye(3)
    return mirror @ flat.reshape(count, 3, 3)


def project(images: np.ndarray, rotations: np.ndarray, bandwidth: int) -> np.ndarray:
    """Returns images as they are seen on a sphere.

    Args:
      images: `uint8` or `float32[N, H, W, C]`.
      rotations: `float64[N, 3, 3]`, of the sphere of each image.
      bandwidth: `b`.

    Returns:
      `[N, 2b, 2b, C]`, of the same type; black beyond the image.
    """
    grid = sphere(bandwidth)
    found = np.empty((len(images), *grid.shape[:2], images.shape[-1]), images.dtype)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        turned = np.einsum("nij,abj->nabi", rotations[part], grid)
        # The sphere's lowest point is at height zero, its upper pole, where the rays begin, at two.
        below = 1 - turned[..., 2:]
        meets = below > 1e-6  # the ray of the pole itself meets the image nowhere
        plane = np.where(meets, 2 * turned[..., :2] / np.where(meets, below, 1), np.inf)
        found[part] = _bilinear(images[part], plane / _SIDE + 0.5)
    return found


def _bilinear(images: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns values at places `float64[N, a, b, 2]`; the image reaches from zero to one."""
    height, width = images.shape[1:3]
    row, column = places[..., 0] * height - 0.5, places[..., 1] * width - 0.5
    inside = (row >= -0.5) & (row <= height - 0.5) & (column >= -0.5) & (column <= width - 0.5)
    row, column = row.clip(0, height - 1), column.clip(0, width - 1)
    top = np.minimum(row.astype(int), max(height - 2, 0))
    left = np.minimum(column.astype(int), max(width - 2, 0))
    lower, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, over = (row - top)[..., None], (column - left)[..., None]
    example = np.arange(len(images))[:, None, None]
    upper = (1 - over) * images[example, top, left] + over * images[example, top, right]
    beneath = (1 - over) * images[example, lower, left] + over * images[example, lower, right]
    values = ((1 - down) * upper + down * beneath) * inside[..., None]
    return np.rint(values) if images.dtype == np.uint8 else values
