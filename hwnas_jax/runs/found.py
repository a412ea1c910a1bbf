"""The file in which a search leaves what it found.

Legend: `M` searches, `D` decisions, `K` options of the widest decision, `P` weights, `N` networks.
"""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hwnas_jax.errors import UserError

FILE = "search.npz"


class Found(NamedTuple):
    """What a run's searches found; a gradient search and a strategy each leave their part.

    Attributes:
      probabilities: `float32[M, D, K]` of a gradient search; None of a strategy.
      prior: `float32[D, K]`, the probabilities it began with; None of a strategy.
      weights: `float32[M, P]`, of the supernets; None where none was trained.
      networks: `int32[M, N, D]`, what a strategy asked for; None of a gradient search.
      scores: `float32[M, N]`, what it was told, higher is better.
      excess: `float32[M, N]`, how far over the budget each was predicted to lie.
      fidelity: `int32[M, N]`, how many fidelities below the highest each was evaluated; None where
        all were at the highest.
    """

    probabilities: np.ndarray | None = None
    prior: np.ndarray | None = None
    weights: np.ndarray | None = None
    networks: np.ndarray | None = None
    scores: np.ndarray | None = None
    excess: np.ndarray | None = None
    fidelity: np.ndarray | None = None

    def save(self, folder: Path) -> None:
        """Writes the file into a run folder."""
        arrays = {name: value for name, value in self._asdict().items() if value is not None}
        np.savez(folder / FILE, **arrays)

    @classmethod
    def load(cls, folder: Path) -> "Found":
        """Reads what `save` wrote; UserError when it is absent or damaged."""
        path = folder / FILE
        if not path.exists():
            raise UserError(f"{folder} holds no finished search; continue it with --resume")
        try:
            with np.load(path, allow_pickle=False) as saved:
                return cls(**{name: saved[name] for name in saved.files})
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path} is damaged ({error}); delete it and the line search of "
                f"{folder / 'stages.json'} to take it from the last checkpoint again"
            ) from error
