"""Real images whose colours are turned: by how much?"""

import dataclasses
import itertools
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.unreal.remade import Pretext
from hwnas_jax.errors import UserError

_LETTERS = "RGB"
_ORDERS = tuple(itertools.permutations(range(3)))


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Colour(Pretext):
    """The images of another source in other colours; which change it was is the class.

    `by` order: the channels are in one of their six orders, written as what was red, green and blue
    before. `by` hue: colours are rotated about the grey axis of the RGB cube by `k / turns` of a
    circle; `uint8` values are rounded, and cut off where the cube ends. Images without colour are
    refused.
    """

    name = "colour"
    summary = "the images of another source (option of), in other colours; which change: 6 classes"
    moves = True

    by: Literal["order", "hue"] = "order"
    """change the order of the channels, or rotate the hue"""
    turns: Annotated[int, Interval(ge=2, le=36)] = 6
    """by hue: how many rotations there are"""

    def names(self) -> tuple[str, ...]:
        """Returns the orders, or the angles in degrees."""
        if self.by == "order":
            return tuple("".join(_LETTERS[k] for k in order) for order in _ORDERS)
        return tuple(f"{360 * number / self.turns:.4g}" for number in range(self.turns))

    def check(self, real: Dataset) -> None:
        """Refuses images that have not three channels, or whose channels are all the same."""
        channels = real.input_shape[-1]
        if channels != 3:
            raise UserError(
                f"{self.name} needs images of three channels, red, green and blue; those of "
                f"{real.name} have {channels}"
            )
        images = real.train_inputs
        if (images == images[..., :1]).all():
            raise UserError(
                f"{self.name} needs images with colours; those of {real.name} are grey: their "
                "three channels are the same"
            )

    def change(self, images: np.ndarray, number: int) -> np.ndarray:
        """Returns images in the colours of class `number`."""
        if self.by == "order":
            return images[..., list(_ORDERS[number])]
        turned = images @ hue_rotation(2 * np.pi * number / self.turns).T.astype(np.float32)
        if images.dtype == np.uint8:
            return np.clip(np.round(turned), 0, 255).astype(np.uint8)
        return turned.astype(images.dtype)


def hue_rotation(angle: float) -> np.ndarray:
    """Returns the rotation of the RGB cube about its grey axis, `float64[3, 3]`.

    By Rodrigues' formula with the axis `(1, 1, 1) / sqrt(3)`; a third of a circle takes red to
    green, green to blue and blue to red.

    Args:
      angle: in radians.
    """
    cosine, sine = np.cos(angle), np.sin(angle)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    return cosine * np.eye(3) + sine * across + (1 - cosine) / 3 * np.ones((3, 3))
