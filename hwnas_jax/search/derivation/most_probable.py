"""The most probable networks first."""

import dataclasses

import numpy as np

from hwnas_jax.parallel.progress import Progress
from hwnas_jax.search.derivation.base import DERIVATIONS, Candidates, Derivation, Searched


@DERIVATIONS.add
@dataclasses.dataclass(frozen=True)
class MostProbable(Derivation):
    """Orders by how probable the search has made each network.

    Several architectures may build one network. Their sum favours networks that many build, which
    are sparse ones, even before anything was learned; so what counts by default is how many times
    as probable a network is as where the search began.
    """

    name = "most_probable"
    summary = "by probability, as a multiple of that at the start; a strategy's by score"

    relative: bool = True
    """divide by the probability at the start; false takes the probability itself"""

    def order(
        self, candidates: Candidates, searched: Searched, progress: Progress, *, seed: int
    ) -> np.ndarray:
        """Returns all candidates."""
        del searched, progress, seed
        return np.argsort(-self.scores(candidates), kind="stable")

    def scores(self, candidates: Candidates) -> np.ndarray:
        """Returns what the candidates are ordered by, `float64[N]`; for a strategy its scores."""
        if candidates.scores is not None:
            return candidates.scores
        if not self.relative:
            return candidates.log_probability
        return candidates.log_probability - candidates.log_prior
