"""Cost models: looked up, counted, learned. Importing them puts them into the registry."""

from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.attention import AttentionEnsemble
from hwnas_jax.cost.models.base import (
    CostModel,
    ExactModel,
    FittedModel,
    predict_architectures,
    std_architectures,
)
from hwnas_jax.cost.models.bayesian import BayesianAdditive
from hwnas_jax.cost.models.canonical import on_canonical_forms
from hwnas_jax.cost.models.gaussian import GaussianProcess
from hwnas_jax.cost.models.linear import LinearEnsemble
from hwnas_jax.cost.models.mlp import MLPEnsemble
from hwnas_jax.cost.models.registry import COST_MODELS, load_cost_model
from hwnas_jax.cost.models.roofline import RooflineModel
from hwnas_jax.cost.models.table import TableModel
from hwnas_jax.cost.models.transfer import TransferModel
from hwnas_jax.cost.models.with_counts import WithCounts

__all__ = [
    "COST_MODELS", "AnalyticModel", "AttentionEnsemble", "BayesianAdditive", "CostModel",
    "ExactModel", "FittedModel", "GaussianProcess", "LinearEnsemble", "MLPEnsemble",
    "RooflineModel", "TableModel", "TransferModel", "WithCounts", "load_cost_model",
    "on_canonical_forms", "predict_architectures", "std_architectures",
]  # fmt: skip
