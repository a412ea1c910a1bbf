"""Made years of vegetation: when it grows, and for how long.

Legend: `N` examples, `L` steps of a year, `K` classes.
"""

import dataclasses
import math
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.series.made import MadeSeries, log_sum

_FIRST, _LAST = 0.1, 0.45  # of the year: where the earliest and the latest season begins
_SHORTEST, _LONGEST = 0.15, 0.45  # of the year
_RISE = 0.02  # of the year: time constant of growth and decline


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class SatelliteLike(MadeSeries):
    """How green a place is over a year, `float32[N, L, 1]`; classes differ in season.

    A year is a double logistic curve (Beck et al., "Improved Monitoring of Vegetation Dynamics at
    Very High Latitudes", Remote Sensing of Environment 2006): green begins at a time and ends at
    another, each pair of which is a class. The season of a place is up to `shift` steps early or
    late, its soil adds a normal number to the whole year, and every step has normal noise.
    """

    name = "satellite_like"
    summary = "made years of greenness, 46 steps, 24 classes by season; built in, no download"

    length: Annotated[int, Ge(16), Le(4096)] = 46
    """steps of a year"""
    covers: Annotated[int, Ge(2), Le(64)] = 24
    """how many classes"""
    shift: Annotated[int, Ge(0), Le(64)] = 1
    """most steps that a season is early or late by; every shift is as frequent"""
    soil: Annotated[float, Ge(0), Le(100)] = 0.5
    """standard deviation of what the soil adds; a season is one high"""
    noise: Annotated[float, Gt(0), Le(10)] = 0.25
    """standard deviation of the noise on every step"""

    @property
    def classes(self) -> tuple[str, ...]:
        """When the season begins, and how long it is, in steps."""
        return tuple(f"{begin:.1f}+{steps:.1f}" for begin, steps in self._seasons * self.length)

    @property
    def reach(self) -> int:
        """The steps of the longest season."""
        return math.ceil(self._seasons[:, 1].max() * self.length)

    @property
    def _seasons(self) -> np.ndarray:
        """`float64[K, 2]`: begin and length of each season, as shares of a year."""
        begins = math.ceil(math.sqrt(self.covers))
        lengths = math.ceil(self.covers / begins)
        early, short = np.meshgrid(
            np.linspace(_FIRST, _LAST, begins), np.linspace(_LONGEST, _SHORTEST, lengths)
        )
        return np.stack([early.ravel(), short.ravel()], axis=1)[: self.covers]

    def templates(self, shift: int) -> np.ndarray:
        """Returns the year of each class without noise, `float64[K, L]`, so many steps late."""
        begin, lasts = self._seasons[:, :1], self._seasons[:, 1:]
        time = (np.arange(self.length) - shift) / self.length

        def rise(after):
            return 0.5 * (1 + np.tanh(after / (2 * _RISE)))

        return rise(time - begin) - rise(time - begin - lasts)

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the sequences; arguments as of the contract."""
        count = len(labels)
        late = rng.integers(-self.shift, self.shift + 1, count)
        years = self.soil * rng.standard_normal((count, 1))
        years = years + self.noise * rng.standard_normal((count, self.length))
        for shift in range(-self.shift, self.shift + 1):
            rows = late == shift
            years[rows] += self.templates(shift)[labels[rows]]
        return years[..., None]

    def log_likelihoods(self, inputs: np.ndarray) -> np.ndarray:
        """Returns them exactly: the soil makes all steps of a year covary alike."""
        found = []
        shared = self.soil**2 / (self.noise**2 + self.length * self.soil**2)
        for shift in range(-self.shift, self.shift + 1):
            left = inputs[:, None, :, 0] - self.templates(shift)
            squares = np.square(left).sum(-1) - shared * np.square(left.sum(-1))
            found.append(-squares / (2 * self.noise**2))
        return log_sum(np.stack(found), 0)
