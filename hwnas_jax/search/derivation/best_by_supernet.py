"""The networks that the supernet judges best first."""

import dataclasses
from typing import Annotated

import numpy as np
from annotated_types import Gt

from hwnas_jax.parallel.progress import Progress
from hwnas_jax.search.derivation.base import DERIVATIONS, Candidates, Derivation, Searched
from hwnas_jax.search.derivation.most_probable import MostProbable

_CHUNK = 16


@DERIVATIONS.add
@dataclasses.dataclass(frozen=True)
class BestBySupernet(Derivation):
    """Orders the most probable networks by their validation loss with the supernet's weights."""

    name = "best_by_supernet"
    summary = "of the most probable, by the supernet's validation loss"
    needs_weights = True

    candidates: Annotated[int, Gt(0)] = 64
    """most probable networks that the supernet judges"""

    def order(
        self, candidates: Candidates, searched: Searched, progress: Progress, *, seed: int
    ) -> np.ndarray:
        """Returns the networks that were judged."""
        likely = MostProbable().order(candidates, searched, progress, seed=seed)
        rows = likely[: self.candidates]
        losses = judged_losses(candidates.networks[rows], searched, progress)
        return rows[np.argsort(losses, kind="stable")]


def judged_losses(networks: np.ndarray, searched: Searched, progress: Progress) -> np.ndarray:
    """Returns the validation losses of networks `int32[n, D]` by the supernet, `float[n]`."""
    assert searched.weights is not None
    losses: list[np.ndarray] = []
    for start in range(0, len(networks), _CHUNK):
        some = networks[start : start + _CHUNK]
        padded = np.concatenate([some, np.repeat(some[-1:], _CHUNK - len(some), axis=0)])
        losses.append(searched.judge(searched.weights, padded)["loss"][: len(some)])
        progress(start + len(some), len(networks), "judged by the supernet")
    return np.concatenate(losses)
