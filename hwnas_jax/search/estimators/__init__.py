"""How the gradient of the task's loss reaches the parameters of the architecture."""

from hwnas_jax.search.estimators.backprop import Backprop
from hwnas_jax.search.estimators.base import (
    ESTIMATORS,
    Estimate,
    Estimator,
    Problem,
    check_estimator,
)

__all__ = ["ESTIMATORS", "Backprop", "Estimate", "Estimator", "Problem", "check_estimator"]
