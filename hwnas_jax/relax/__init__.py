"""How a choice becomes differentiable."""

from hwnas_jax.relax.advantage import Advantage
from hwnas_jax.relax.annealed_softmax import AnnealedSoftmax
from hwnas_jax.relax.base import (
    RELAXATIONS,
    Gates,
    Relaxation,
    check_relaxation,
    one_hot_gates,
    softmax_probabilities,
    straight_through,
)
from hwnas_jax.relax.beta_darts import BetaDARTS
from hwnas_jax.relax.drnas import DrNAS
from hwnas_jax.relax.fair_darts import FairDARTS
from hwnas_jax.relax.gaea import Gaea
from hwnas_jax.relax.gumbel import GumbelSoftmax, SampledPath, StraightThrough
from hwnas_jax.relax.reinmax import ReinMax
from hwnas_jax.relax.softmax import Softmax

__all__ = [
    "RELAXATIONS", "Advantage", "AnnealedSoftmax", "BetaDARTS", "DrNAS", "FairDARTS", "Gaea",
    "Gates", "GumbelSoftmax", "ReinMax", "Relaxation", "SampledPath", "Softmax", "StraightThrough",
    "check_relaxation", "one_hot_gates", "softmax_probabilities",
    "straight_through",
]  # fmt: skip
