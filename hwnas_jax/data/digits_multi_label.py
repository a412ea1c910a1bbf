"""Several handwritten digits side by side: which of the ten are in the picture?"""

import dataclasses
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from hwnas_jax.data.base import SOURCES, Source
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.digits import Digits


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class DigitsMultiLabel(Source):
    """Images `uint8[N, 8, 8 * digits, 1]` with targets `bool[N, 10]`, the digits that they show.

    Every image is made of digits of the built-in set, drawn independently for every place. Train
    images are made of train digits and test images of test digits alone.
    """

    name = "digits_multi_label"
    summary = "handwritten digits side by side, 8x16x1; which of the 10 are there; built in"

    digits: Annotated[int, Ge(2), Le(4)] = 2
    """how many digits stand side by side"""
    repeats: Annotated[int, Gt(0)] = 2
    """how many images show a given digit at a given place"""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share of the digits that test images are made of"""
    seed: Annotated[int, Ge(0)] = 0
    """of the draw"""

    def load(self) -> Dataset:
        """Returns the data set; errors as of `Digits.load`."""
        single = Digits(test_fraction=self.test_fraction).load()
        rng = np.random.default_rng(self.seed)
        train_inputs, train_targets = self._compose(single.train_inputs, single.train_targets, rng)
        test_inputs, test_targets = self._compose(single.test_inputs, single.test_targets, rng)
        return Dataset(
            name=self.name,
            train_inputs=train_inputs,
            train_targets=train_targets,
            test_inputs=test_inputs,
            test_targets=test_targets,
            output_names=single.output_names,
            task="multi_label",
        )

    def _compose(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        count = len(images)
        places = [
            np.concatenate([rng.permutation(count) for _ in range(self.repeats)])
            for _ in range(self.digits)
        ]
        targets = np.zeros((self.repeats * count, 10), bool)
        for place in places:
            targets[np.arange(len(targets)), labels[place]] = True
        return np.concatenate([images[place] for place in places], axis=2), targets
