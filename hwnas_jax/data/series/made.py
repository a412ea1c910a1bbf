"""What all sources of made sequences share.

Legend: `N` examples, `L` steps of a sequence, `C` channels, `K` classes.
"""

import abc
import dataclasses
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from hwnas_jax.data.base import Source
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.pipeline import divided


@dataclasses.dataclass(frozen=True)
class MadeSeries(Source):
    """Sequences `float32[N, L, C]` of `K` classes, drawn by equations that are known.

    The likelihood of a sequence under each class is then known as well, so that `best_classes` is a
    classifier that none can beat on average: what it reaches is what there is to learn.
    """

    examples: Annotated[int, Ge(20), Le(1_000_000)] = 4000
    """how many, train and test together; all classes have as many as the others, to within one"""
    length: Annotated[int, Ge(8), Le(4096)] = 64
    """steps of a sequence"""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share of the test set"""
    seed: Annotated[int, Ge(0)] = 0
    """of the draw and of the split"""

    @property
    @abc.abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The names of the `K` classes."""

    @property
    @abc.abstractmethod
    def reach(self) -> int:
        """How many steps apart the places are that must be compared to tell all classes apart."""

    @abc.abstractmethod
    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns a sequence for each label.

        Args:
          labels: `int[N]`.
          rng: of everything that is random.

        Returns:
          `float64[N, L, C]`.
        """

    @abc.abstractmethod
    def log_likelihoods(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the logarithm of the density of each sequence under each class.

        Args:
          inputs: `float64[N, L, C]`.

        Returns:
          `float64[N, K]`, but for a term that all classes share.
        """

    def best_classes(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the most probable class of each sequence, all classes being as frequent.

        Args:
          inputs: `float32[N, L, C]`, or as a data set keeps them, `float32[N, 1, L, C]`.

        Returns:
          `int64[N]`.
        """
        channels = inputs.shape[-1]
        sequences = inputs.astype(np.float64).reshape(len(inputs), self.length, channels)
        return self.log_likelihoods(sequences).argmax(axis=1)

    def load(self) -> Dataset:
        """Returns the data set."""
        rng = np.random.default_rng(self.seed)
        names = self.classes
        labels = rng.permutation(np.arange(self.examples, dtype=np.int32) % len(names))
        inputs = self.draw(labels, rng).astype(np.float32)
        return divided(
            inputs, labels, self.test_fraction, self.seed,
            name=self.name, output_names=names, task="classification",
        )  # fmt: skip


def log_sum(values: np.ndarray, axis: int) -> np.ndarray:
    """Returns the logarithm of the sum of the exponentials along an axis."""
    most = values.max(axis=axis, keepdims=True)
    return np.log(np.exp(values - most).sum(axis=axis)) + most.squeeze(axis)
