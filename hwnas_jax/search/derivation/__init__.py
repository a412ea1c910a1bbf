"""From what a search found to networks in order."""

from hwnas_jax.search.derivation.base import (
    DERIVATIONS,
    Candidates,
    Derivation,
    Searched,
    check_order,
)
from hwnas_jax.search.derivation.best_by_supernet import BestBySupernet
from hwnas_jax.search.derivation.halving import Halving
from hwnas_jax.search.derivation.most_probable import MostProbable
from hwnas_jax.search.derivation.perturbation import Perturbation

__all__ = [
    "DERIVATIONS", "BestBySupernet", "Candidates", "Derivation", "Halving", "MostProbable",
    "Perturbation", "Searched", "check_order",
]  # fmt: skip
