"""Hyperband: successive halving from every fidelity, in case the lowest ones mislead."""

import dataclasses
import math

from hwnas_jax.search.strategies.base import STRATEGIES
from hwnas_jax.search.strategies.rungs import Bracket, Brackets, bracket


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class Hyperband(Brackets):
    """Runs one bracket of successive halving from each fidelity, the lowest first.

    With `s + 1` fidelities ahead of it a bracket begins with `ceil(F / (s + 1) * eta ** s)`
    architectures, where `F` is the number of all fidelities, so that every bracket takes about the
    same where an evaluation takes `eta` times as much at the next higher fidelity. The last
    bracket is random search at the highest fidelity.

    References: Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
    Optimization", JMLR 2018, Algorithm 1, with its default of eta.
    """

    name = "hyperband"
    summary = "successive halving, begun in turn from every fidelity"

    @property
    def brackets(self) -> tuple[Bracket, ...]:
        """One bracket from each fidelity."""
        total = self.fidelities
        return tuple(
            bracket(math.ceil(total * self.eta**level / (level + 1)), self.eta, level)
            for level in reversed(range(total))
        )
