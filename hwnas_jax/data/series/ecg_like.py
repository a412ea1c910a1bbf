"""Made heartbeats: how far apart two unusual beats are, and whether there is a P wave.

Legend: `N` examples, `L` steps, `J` whole beats.
"""

import dataclasses
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.series.made import MadeSeries, log_sum
from hwnas_jax.errors import UserError

_WAVES = {
    "P": (-0.194, 0.25, 0.040), "Q": (-0.042, -0.167, 0.016), "R": (0.0, 1.0, 0.016),
    "S": (0.042, -0.25, 0.016), "T": (0.278, 0.4, 0.064),
}  # fmt: skip
"""Of each wave its place after the R wave, its height, and its width as a share of a beat."""
_UNUSUAL = {"R": (0.0, 1.0, 0.040), "T": (0.278, -0.4, 0.064)}
"""The waves that an unusual beat has in their place: a wide R, and a T upside down."""


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class EcgLike(MadeSeries):
    """Heartbeats of one lead `float32[N, L, 1]` in four classes.

    A beat is a sum of five Gaussian waves, P to T, with the angles, widths and heights of ECGSYN
    (McSharry et al., "A Dynamical Model for Generating Synthetic Electrocardiogram Signals", IEEE
    Transactions on Biomedical Engineering 2003). Beats follow each other every `interval` steps,
    the first at a random step, and every step has normal noise.

    Two beats of every sequence are unusual, as early beats of a ventricle are: wide, and with the T
    wave upside down. They are `lag` beats apart ("near") or twice as many ("far"), where beats are
    counted on from the first one behind the last. Each place is as frequent as the others, so a
    window without two unusual beats tells nothing, and neither does their number: the network must
    compare places that are at least `reach` steps apart. Beside that, two of the classes have no P
    wave, which one beat shows.
    """

    name = "ecg_like"
    summary = "made heartbeats, 256 steps, 4 classes, a rule of any range; built in, no download"

    length: Annotated[int, Ge(64), Le(4096)] = 256
    """steps of a sequence"""
    interval: Annotated[int, Ge(16), Le(512)] = 32
    """steps from one beat to the next"""
    lag: Annotated[int, Ge(1), Le(64)] = 2
    """beats from one unusual beat to the other where they are near"""
    noise: Annotated[float, Gt(0), Le(10)] = 0.3
    """standard deviation of the noise; an R wave is one high"""

    @property
    def classes(self) -> tuple[str, ...]:
        """How far apart the unusual beats are, and whether there is a P wave."""
        return ("near", "near, no P wave", "far", "far, no P wave")

    @property
    def reach(self) -> int:
        """The steps between unusual beats that are near; all others are farther apart."""
        return self.lag * self.interval

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the sequences; arguments as of the contract.

        Raises:
          UserError: when a sequence has too few beats for near and far to differ.
        """
        if self._beats <= 3 * self.lag:
            raise UserError(
                f"data set {self.name}: unusual beats {self.lag} or {2 * self.lag} apart need more "
                f"than {3 * self.lag} beats of {self.interval} steps; length = {self.length} has "
                f"{self._beats}"
            )
        count = len(labels)
        first = rng.integers(0, self._beats, count)
        second = (first + np.where(labels >= 2, 2, 1) * self.lag) % self._beats
        begins = rng.integers(0, self.interval, count)
        with_p = labels % 2 == 0
        sequences = self.noise * rng.standard_normal((count, self.length))
        for begin in range(self.interval):
            rows = begins == begin
            usual, p, change = self._waves(begin)
            sequences[rows] += usual + with_p[rows, None] * p
            sequences[rows] += change[first[rows]] + change[second[rows]]
        return sequences[..., None]

    def log_likelihoods(self, inputs: np.ndarray) -> np.ndarray:
        """Returns them exactly, summed over first steps and over the places of unusual beats.

        Waves of different beats do not overlap, so that each beat has a likelihood of its own.
        """
        found = np.empty((self.interval, 4, len(inputs)))
        for begin in range(self.interval):
            usual, p, change = self._waves(begin)
            for number in range(4):
                left = inputs[..., 0] - usual - (p if number % 2 == 0 else 0)
                gain = left @ change.T - np.square(change).sum(1) / 2
                apart = (2 if number >= 2 else 1) * self.lag
                pairs = (gain + np.roll(gain, -apart, axis=1)) / self.noise**2
                found[begin, number] = log_sum(pairs, 1) - np.square(left).sum(1) / (
                    2 * self.noise**2
                )
        return log_sum(found, 0).T

    @property
    def _beats(self) -> int:
        """`J`: those that may be unusual; a part of one more is seen before them."""
        return self.length // self.interval

    def _waves(self, begin: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns what usual beats have but P waves `[L]`, these `[L]`, and changes `[J, L]`."""
        place = begin + self.interval * np.arange(-1, self._beats + 1)[:, None]
        after = (np.arange(self.length) - place) / self.interval

        def wave(middle, height, width):
            return height * np.exp(-np.square((after - middle) / width) / 2)

        usual = {name: wave(*shape) for name, shape in _WAVES.items()}
        change = sum(wave(*shape) - usual[name] for name, shape in _UNUSUAL.items())
        return sum(usual[name] for name in "QRST").sum(0), usual["P"].sum(0), change[1:-1]
