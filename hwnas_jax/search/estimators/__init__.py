"""How the gradient of the task's loss reaches the parameters of the architecture."""

from hwnas_jax.search.estimators.backprop import Backprop
from hwnas_jax.search.estimators.base import (
    ESTIMATORS,
    Estimate,
    Estimator,
    Problem,
    check_estimator,
)
from hwnas_jax.search.estimators.implicit import Implicit
from hwnas_jax.search.estimators.reinforce import Reinforce
from hwnas_jax.search.estimators.second_order import SecondOrder

__all__ = [
    "ESTIMATORS", "Backprop", "Estimate", "Estimator", "Implicit", "Problem", "Reinforce",
    "SecondOrder", "check_estimator",
]  # fmt: skip
