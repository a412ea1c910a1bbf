"""Made muscle signals: which gesture, told by how strong the noise of each electrode is.

Legend: `N` examples, `L` steps, `C` electrodes, `K` gestures.
"""

import dataclasses
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.series.made import MadeSeries

_WIDTH = 2.0  # how narrow the muscle is: concentration of a von Mises curve around the arm


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class EmgLike(MadeSeries):
    """Signals of electrodes around an arm `float32[N, L, C]`, a class for each gesture.

    Each value is normal with mean zero. Its standard deviation depends on the electrode and the
    gesture, `1 + strength * exp(2 (cos(angle) - 1))`, where the angle is that between the electrode
    and the muscle of the gesture (amplitude-modulated noise as a model of such signals: Hogan and
    Mann, "Myoelectric Signal Processing", IEEE Transactions on Biomedical Engineering 1980).

    No linear function of the values tells anything, since they have the same mean in all classes.
    The energies of the electrodes tell everything.
    """

    name = "emg_like"
    summary = "made muscle signals, 52 steps of 16 electrodes, 18 gestures; built in, no download"

    length: Annotated[int, Ge(8), Le(4096)] = 52
    """steps of a sequence"""
    electrodes: Annotated[int, Ge(2), Le(64)] = 16
    """at equal angles around the arm"""
    gestures: Annotated[int, Ge(2), Le(64)] = 18
    """each has its muscle; they are at equal angles as well"""
    strength: Annotated[float, Gt(0), Le(100)] = 1.0
    """by how much the muscle raises the deviation of an electrode above it, which is one at rest"""

    @property
    def classes(self) -> tuple[str, ...]:
        """Numbered."""
        return tuple(f"gesture {number}" for number in range(self.gestures))

    @property
    def reach(self) -> int:
        """One: the energy of the single steps tells all."""
        return 1

    @property
    def deviations(self) -> np.ndarray:
        """`float64[K, C]`: standard deviation by gesture and electrode."""
        muscle = 2 * np.pi * np.arange(self.gestures)[:, None] / self.gestures
        electrode = 2 * np.pi * np.arange(self.electrodes) / self.electrodes
        return 1 + self.strength * np.exp(_WIDTH * (np.cos(electrode - muscle) - 1))

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the sequences; arguments as of the contract."""
        shape = (len(labels), self.length, self.electrodes)
        return self.deviations[labels][:, None] * rng.standard_normal(shape)

    def log_likelihoods(self, inputs: np.ndarray) -> np.ndarray:
        """Returns them by the energy of each electrode."""
        energies = np.square(inputs).sum(1)
        spread = self.deviations
        return -energies @ (0.5 / spread**2).T - self.length * np.log(spread).sum(1)
