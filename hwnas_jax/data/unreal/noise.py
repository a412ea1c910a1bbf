"""Images of Gaussian noise with random labels: nothing in them is real."""

import dataclasses
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Interval, Le, Lt

from hwnas_jax.data.base import SOURCES, Source
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.unreal.random_labels import CHANCE, drawn_labels

Extent = Annotated[int, Interval(ge=1, le=1024)]


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Noise(Source):
    """Images `float32[N, height, width, channels]` with random labels `int32[N]`.

    All values are independent and normal with mean zero and deviation one. Every class is equally
    likely, whatever the image.
    """

    name = "noise"
    summary = "Gaussian noise with random labels, 8x8x1 and 10 classes by default; made"

    height: Extent = 8
    """in pixels; one makes sequences of the length `width`"""
    width: Extent = 8
    """in pixels"""
    channels: Annotated[int, Interval(ge=1, le=64)] = 1
    """values of each pixel"""
    classes: Annotated[int, Interval(ge=2, le=10_000)] = 10
    """different labels"""
    examples: Annotated[int, Ge(10), Le(10_000_000)] = 2000
    """how many, train and test together"""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share of the test set"""
    seed: Annotated[int, Ge(0)] = 0
    """of the draw"""

    def load(self) -> Dataset:
        """Returns the data set."""
        rng = np.random.default_rng(self.seed)
        labels = drawn_labels(self.examples, self.classes, rng)
        shape = (self.examples, self.height, self.width, self.channels)
        images = rng.standard_normal(shape, np.float32)
        # All examples are alike, so that the first may be the test set as well as any others.
        tested = min(max(round(self.test_fraction * self.examples), 1), self.examples - 1)
        return Dataset(
            self.name, images[tested:], labels[tested:], images[:tested], labels[:tested],
            tuple(str(number) for number in range(self.classes)),
            notes=(f"{self.name}: {CHANCE}",),
        )  # fmt: skip
