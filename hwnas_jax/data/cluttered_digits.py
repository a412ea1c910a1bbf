"""Handwritten digits, turned, scaled and shifted, among pieces of other digits.

Legend: `N` images, `S` pixels along a side of an image.
"""

import dataclasses
from typing import Annotated

import numpy as np
import scipy.ndimage
from annotated_types import Ge, Gt, Le, Lt

from hwnas_jax.data.base import SOURCES, Source
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.digits import Digits

_SCAN = 8  # pixels along a side of a digit of scikit-learn
_WHOLE = _SCAN + 1  # side of a piece that holds all of a digit, half a pixel around it included
_SHARE = 2 / 3  # of the image's side that a digit has before it is scaled at random
_FAINTEST = 0.7  # brightness of the faintest digit; the brightest has 1


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class ClutteredDigits(Source):
    """Images `uint8[N, size, size, 1]` of one digit and pieces of others, in ten classes.

    Every example is made once, of a digit of the built-in set: it is turned, scaled and shifted at
    random, and square pieces of other digits, which are darker, are laid over it. Where they
    overlap, the brighter pixel is seen. Train images are made of train digits and test images of
    test digits alone, the pieces too.

    On plain digits, networks of equal cost differ by less than two trainings of one network do.
    Clutter tells networks apart. Noise hides the difference again, since it limits all networks
    alike. `benchmarks/task_spread.py` measures this for any source.

    Where a part of the train images is held out for validation, the same digits are in both parts,
    so accuracies are higher there than on the test images.

    References: digits in clutter are a task in Mnih et al., "Recurrent Models of Visual Attention",
    NeurIPS 2014.
    """

    name = "cluttered_digits"
    summary = "digits among pieces of other digits, 12x12x1, 10 classes; built in, no download"

    size: Annotated[int, Ge(8), Le(64)] = 12
    """height and width in pixels; a digit has about two thirds of them"""
    repeats: Annotated[int, Gt(0)] = 16
    """how many images are made of each digit"""
    zoom: Annotated[float, Ge(1), Le(2)] = 1.25
    """largest factor that a digit is enlarged or shrunk by"""
    rotation: Annotated[float, Ge(0), Le(180)] = 20.0
    """most degrees that a digit is turned by, either way"""
    shift: Annotated[float, Ge(0), Le(0.5)] = 0.15
    """farthest that a digit is off the middle, down and to the side, as a share of `size`"""
    clutter: Annotated[int, Ge(0), Le(16)] = 3
    """how many pieces of other digits there are"""
    piece: Annotated[float, Gt(0), Le(_WHOLE)] = 5.0
    """side of a piece, in pixels of a scanned digit, which has eight"""
    brightness: Annotated[float, Gt(0), Le(1)] = 0.6
    """of the pieces, as a share of the brightness of digits"""
    noise: Annotated[float, Ge(0), Le(1)] = 0.0
    """standard deviation of the noise on every pixel; one is from black to white"""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share of the digits that test images are made of"""
    seed: Annotated[int, Ge(0)] = 0
    """of everything that is random, but for the split of the digits, which is always the same"""

    def load(self) -> Dataset:
        """Returns the data set; errors as of `Digits.load`."""
        digits = Digits(test_fraction=self.test_fraction).load()
        rng = np.random.default_rng(self.seed)
        return Dataset(
            name=self.name,
            train_inputs=self._images(digits.train_inputs, rng),
            train_targets=np.tile(digits.train_targets, self.repeats),
            test_inputs=self._images(digits.test_inputs, rng),
            test_targets=np.tile(digits.test_targets, self.repeats),
            output_names=digits.output_names,
        )

    def _images(self, digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns `repeats` images of each digit, the first of every digit first."""
        scans = np.pad(digits[..., 0], ((0, 0), (1, 1), (1, 1))).astype(np.float32)
        own = np.tile(np.arange(len(scans)), self.repeats)
        middle, count = (self.size - 1) / 2, len(own)
        places = middle + self.size * self.shift * rng.uniform(-1, 1, (count, 2))
        images = self._drawn(scans, own, places, _WHOLE, rng)
        for _ in range(self.clutter):
            others = rng.integers(len(scans), size=count)
            places = rng.uniform(0, self.size - 1, (count, 2))
            pieces = self._drawn(scans, others, places, self.piece, rng)
            images = np.maximum(images, self.brightness * pieces)
        if self.noise:
            images += 255 * self.noise * rng.standard_normal(images.shape, np.float32)
        return np.clip(np.round(images), 0, 255).astype(np.uint8)[..., None]

    def _drawn(
        self,
        scans: np.ndarray,
        chosen: np.ndarray,
        places: np.ndarray,
        side: float,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Returns black images with a square piece of a digit in each, `float32[N, S, S]`.

        Args:
          scans: the digits, `float32[digits, _SCAN + 2, _SCAN + 2]`, each with a black edge.
          chosen: whose piece each image shows, `int[N]`.
          places: row and column of the piece's middle, `float[N, 2]`.
          side: of the piece, in pixels of the scan.
          rng: draws where in the digit the piece is from, how it is turned and scaled, and its
            brightness.
        """
        count = len(chosen)
        angle = np.deg2rad(self.rotation * rng.uniform(-1, 1, count))
        scale = self.size * _SHARE / _SCAN * self.zoom ** rng.uniform(-1, 1, count)
        cosine, sine = (
            turn(angle)[:, None, None] / scale[:, None, None] for turn in (np.cos, np.sin)
        )
        down, right = np.moveaxis(np.arange(self.size) - places[..., None], 1, 0)
        down, right = down[:, :, None], right[:, None, :]
        # From a pixel's distance to the middle of the piece, in the image, to that in the scan.
        row, column = cosine * down + sine * right, cosine * right - sine * down
        shown = np.maximum(np.abs(row), np.abs(column)) <= side / 2
        number = np.nonzero(shown)[0]
        # Of a whole digit, the one possible middle is that of the scan.
        middle = side / 2 + (_WHOLE - side) * rng.random((count, 2))
        row, column = row[shown] + middle[number, 0], column[shown] + middle[number, 1]
        # All scans lie one below the other in a single image, which is read between its pixels.
        row += scans.shape[1] * chosen[number]
        light = rng.uniform(_FAINTEST, 1, count).astype(np.float32)
        images = np.zeros(shown.shape, np.float32)
        images[shown] = light[number] * scipy.ndimage.map_coordinates(
            scans.reshape(-1, scans.shape[2]), [row, column], order=1
        )
        return images
