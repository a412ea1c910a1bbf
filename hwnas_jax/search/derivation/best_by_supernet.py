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

    candidates: Annotated[int, Gt(0)] = 64
    """most probable networks that the supernet judges"""

    def order(
        self, candidates: Candidates, searched: Searched, progress: Progress, *, seed: int
    ) -> np.ndarray:
        """Returns the networks that were judged."""
        likely = MostProbable().order(candidates, searched, progress, seed=seed)
        rows = likely[: self.candidates]
        losses: list[np.ndarray] = []
        for start in range(0, len(rows), _CHUNK):
            some = candidates.networks[rows[start : start + _CHUNK]]
            losses.append(searched.judge(searched.weights, some)["loss"])
            progress(min(start + _CHUNK, len(rows)), len(rows), "judged by the supernet")
        return rows[np.argsort(np.concatenate(losses), kind="stable")]
