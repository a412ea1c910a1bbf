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
    judged_only,
    make_ahead,
    make_evaluate,
    members,
)
from hwnas_jax.search.evaluators.training import ShortTraining
from hwnas_jax.search.evaluators.zero_cost import ZeroCost

__all__ = [
    "EVALUATORS", "Bench", "Data", "Evaluator", "Score", "SharedWeights", "ShortTraining",
    "ZeroCost", "check_evaluator", "check_fidelities", "judged_only", "make_ahead", "make_evaluate",
    "members",
]  # fmt: skip
