"""Digits at random places of a noisy image: of which digit is a pixel, or what is the clean image?

Legend: `N` images, `S` pixels along a side of an image.
"""

import dataclasses
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from hwnas_jax.data.base import SOURCES, Source
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.digits import Digits

_SCAN = 8  # pixels along a side of a digit
_INK = 64  # a pixel at least this bright, of 255, is part of a digit


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class DigitScenes(Source):
    """Images `uint8[N, S, S, 1]` of digits of the built-in set, with a target for every pixel.

    `learn` classes: targets are `int32[N, S, S]`, 0 for the background and one more than the digit
    for the pixels of a digit; where digits overlap, that of the brightest. The task is
    segmentation.

    `learn` image: targets are `float32[N, S, S, 1]`, the image without noise, from 0 to 1. In the
    input a square of `hole` pixels is black besides. The task is autoencoding.

    Every digit is in `repeats` images as the first, and the others are drawn. Train images are made
    of train digits and test images of test digits alone.
    """

    name = "digit_scenes"
    summary = "digits in noise, 16x16x1; of every pixel its digit, or the clean image; built in"

    learn: Literal["classes", "image"] = "classes"
    """the digit that each pixel is part of, or the image without noise and hole"""
    size: Annotated[int, Ge(_SCAN), Le(128)] = 16
    """height and width in pixels; a digit has eight"""
    digits: Annotated[int, Ge(1), Le(16)] = 2
    """how many digits are in an image"""
    repeats: Annotated[int, Gt(0)] = 1
    """how many images are made of each digit"""
    noise: Annotated[float, Ge(0), Le(1)] = 0.1
    """standard deviation of the noise on every pixel; one is from black to white"""
    hole: Annotated[int, Ge(0)] = 4
    """side of the square that is black in the input where the image is learned"""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share of the digits that test images are made of"""
    seed: Annotated[int, Ge(0)] = 0
    """of places, noise and holes"""

    def load(self) -> Dataset:
        """Returns the data set; errors as of `Digits.load`."""
        single = Digits(test_fraction=self.test_fraction).load()
        made: dict[str, Any] = {}
        for number, part in enumerate(("train", "test")):
            scans, labels = getattr(single, f"{part}_inputs"), getattr(single, f"{part}_targets")
            rng = np.random.default_rng([self.seed, number])
            images, classes = self._scenes(scans[..., 0], labels, rng)
            made[f"{part}_inputs"] = self._seen(images, rng)
            clean = (images / np.float32(255))[..., None]
            made[f"{part}_targets"] = classes if self.learn == "classes" else clean
        names = ("background", *single.output_names) if self.learn == "classes" else ("brightness",)
        task = "segmentation" if self.learn == "classes" else "autoencoding"
        return Dataset(name=self.name, **made, output_names=names, task=task)

    def _scenes(
        self, scans: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns images without noise `uint8[N, S, S]`, and the classes `int32[N, S, S]`."""
        count = self.repeats * len(scans)
        images = np.zeros((count, self.size, self.size), np.uint8)
        classes = np.zeros(images.shape, np.int32)
        for place in range(self.digits):
            chosen = rng.integers(len(scans), size=count) if place else np.arange(count)
            chosen %= len(scans)
            block = _squares(rng.integers(self.size - _SCAN + 1, size=(2, count)), _SCAN)
            there, new = images[block], scans[chosen]
            digit = (labels[chosen] + 1)[:, None, None]
            classes[block] = np.where((new > there) & (new >= _INK), digit, classes[block])
            images[block] = np.maximum(there, new)
        return images, classes

    def _seen(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns what a network is shown of images, `uint8[N, S, S, 1]`."""
        seen = images + 255 * self.noise * rng.standard_normal(images.shape, np.float32)
        side = min(self.hole, self.size)
        if self.learn == "image" and side:
            seen[_squares(rng.integers(self.size - side + 1, size=(2, len(images))), side)] = 0
        return np.clip(np.round(seen), 0, 255).astype(np.uint8)[..., None]


def _squares(corners: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the index of a square in each of `N` images.

    Args:
      corners: `int[2, N]`, row and column of its upper left pixel.
      side: in pixels.
    """
    down, right = corners[:, :, None] + np.arange(side)
    return np.arange(corners.shape[1])[:, None, None], down[:, :, None], right[:, None, :]
