"""How accuracies are predicted from features, for searches that evaluate few networks."""

from hwnas_jax.search.predictors.base import (
    PREDICTORS,
    Predictor,
    Scale,
    check_predictor,
    standardised,
)
from hwnas_jax.search.predictors.ensemble import Ensemble
from hwnas_jax.search.predictors.gaussian import Gaussian
from hwnas_jax.search.predictors.ranker import Ranker
from hwnas_jax.search.predictors.ridge import Ridge

__all__ = [
    "PREDICTORS", "Ensemble", "Gaussian", "Predictor", "Ranker", "Ridge", "Scale",
    "check_predictor", "standardised",
]  # fmt: skip
