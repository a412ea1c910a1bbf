"""A made regression set: pictures of a wave, whose direction and frequency are to be told."""

import dataclasses
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Lt

from hwnas_jax.data.base import SOURCES, Source
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.pipeline import divided

_LOWEST, _HIGHEST = 0.1, 0.4  # cycles per pixel; 0.5 is the most that pixels can show


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Gratings(Source):
    """Images `float32[N, size, size, 1]` of a plane wave with targets `float32[N, 3]`.

    The targets are cosine and sine of twice the wave's angle (a wave turned by half a circle looks
    the same) and its frequency in cycles per pixel. Phase and contrast are random and say nothing
    about the targets; since the phase is random, no linear function of the pixels predicts them.
    Normal noise on the targets sets the error that no network can go below, `noise_floor`.
    """

    name = "gratings"
    summary = "made pictures of a wave, 8x8x1 floats; its angle and frequency: regression; built in"

    examples: Annotated[int, Ge(10)] = 3000
    """how many, train and test together"""
    size: Annotated[int, Ge(8)] = 8
    """height and width in pixels"""
    noise: Annotated[float, Ge(0)] = 0.1
    """standard deviation of the noise on a target, as a share of the target's own"""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share of the test set"""
    seed: Annotated[int, Ge(0)] = 0
    """of the draw and of the split"""

    @property
    def noise_floor(self) -> float:
        """The least mean squared error of targets standardised to deviation one."""
        return self.noise**2 / (1 + self.noise**2)

    def load(self) -> Dataset:
        """Returns the data set."""
        rng = np.random.default_rng(self.seed)
        angle, phase = rng.uniform(0, 2 * np.pi, (2, self.examples))
        frequency = rng.uniform(_LOWEST, _HIGHEST, self.examples)
        contrast = rng.uniform(0.5, 1.5, self.examples)
        down, right = np.meshgrid(np.arange(self.size), np.arange(self.size), indexing="ij")
        along = np.cos(angle)[:, None, None] * right + np.sin(angle)[:, None, None] * down
        wave = np.cos(2 * np.pi * frequency[:, None, None] * along + phase[:, None, None])
        images = (contrast[:, None, None] * wave).astype(np.float32)[..., None]
        signal = np.stack([np.cos(2 * angle), np.sin(2 * angle), frequency], axis=1)
        deviation = np.array([np.sqrt(0.5), np.sqrt(0.5), (_HIGHEST - _LOWEST) / np.sqrt(12)])
        noisy = signal + self.noise * deviation * rng.standard_normal(signal.shape)
        targets = noisy.astype(np.float32)
        return divided(
            images, targets, self.test_fraction, self.seed,
            name=self.name, output_names=("cosine", "sine", "frequency"), task="regression",
        )  # fmt: skip
