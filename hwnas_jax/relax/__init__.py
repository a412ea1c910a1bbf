"""How a choice becomes differentiable."""

from hwnas_jax.relax.base import (
    RELAXATIONS,
    Gates,
    Relaxation,
    check_relaxation,
    one_hot_gates,
    softmax_probabilities,
)
from hwnas_jax.relax.gumbel import GumbelSoftmax, SampledPath, StraightThrough
from hwnas_jax.relax.softmax import Softmax

__all__ = [
    "RELAXATIONS", "Gates", "GumbelSoftmax", "Relaxation", "SampledPath", "Softmax",
    "StraightThrough", "check_relaxation", "one_hot_gates", "softmax_probabilities",
]  # fmt: skip
