"""A data set from a user's own file: discs, squares and crosses in noise.

hwnas search digits --data.name my_data.py:Shapes
"""

import dataclasses
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Lt

from hwnas_jax.data import Dataset, Source, holdout


@dataclasses.dataclass(frozen=True)
class Shapes(Source):
    """Images `uint8[N, size, size, 1]` of one shape each, of any size and at any place."""

    name = "shapes"
    summary = "discs, squares and crosses in noise"

    examples: Annotated[int, Ge(30)] = 900
    """how many, train and test together"""
    size: Annotated[int, Ge(8)] = 10
    """height and width in pixels"""
    noise: Annotated[float, Ge(0)] = 20.0
    """standard deviation of the noise on every pixel; the shape is brighter by 100"""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share of the test set"""
    seed: Annotated[int, Ge(0)] = 0
    """of the draw and of the split"""

    def load(self) -> Dataset:
        rng = np.random.default_rng(self.seed)
        labels = rng.integers(0, 3, self.examples).astype(np.int32)
        radius = rng.uniform(2, self.size / 2 - 1, (self.examples, 1, 1))
        middle = rng.uniform(radius, self.size - 1 - radius, (2, self.examples, 1, 1))
        down, right = np.abs(np.indices((self.size, self.size))[:, None] - middle)
        square = np.maximum(down, right) <= radius
        disc = np.hypot(down, right) <= radius
        cross = square & (np.minimum(down, right) <= 0.5)
        shape = np.choose(labels[:, None, None], [disc, square, cross])
        images = 70 + 100 * shape + self.noise * rng.standard_normal(shape.shape)
        images = images.clip(0, 255).astype(np.uint8)[..., None]
        train, test = holdout(labels, self.test_fraction, self.seed)
        return Dataset(
            name=self.name,
            train_inputs=images[train],
            train_targets=labels[train],
            test_inputs=images[test],
            test_targets=labels[test],
            output_names=("disc", "square", "cross"),
        )
