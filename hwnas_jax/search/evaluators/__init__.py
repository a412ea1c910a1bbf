"""How good an architecture is."""

from hwnas_jax.search.evaluators.base import (
    EVALUATORS,
    Bench,
    Data,
    Evaluator,
    Score,
    check_evaluator,
)
from hwnas_jax.search.evaluators.supernet import SharedWeights
from hwnas_jax.search.evaluators.told import (
    check_fidelities,
    make_ahead,
    make_evaluate,
    members,
)
from hwnas_jax.search.evaluators.training import ShortTraining

__all__ = [
    "EVALUATORS", "Bench", "Data", "Evaluator", "Score", "SharedWeights", "ShortTraining",
    "check_evaluator", "check_fidelities", "make_ahead", "make_evaluate", "members",
]  # fmt: skip
