"""What an architecture costs: measured, looked up, counted or learned."""

from hwnas_jax.cost.accelerator import Accelerator
from hwnas_jax.cost.analytic import AnalyticModel
from hwnas_jax.cost.attention import AttentionEnsemble
from hwnas_jax.cost.base import CostModel, predict_architectures, std_architectures
from hwnas_jax.cost.bayesian import BayesianAdditive
from hwnas_jax.cost.build import compile_network, compile_operation
from hwnas_jax.cost.compiler import TPU
from hwnas_jax.cost.estimates import estimate
from hwnas_jax.cost.fit import COST_MODELS, FitReport, fit_cost, load_cost_model
from hwnas_jax.cost.gaussian import GaussianProcess
from hwnas_jax.cost.linear import LinearEnsemble
from hwnas_jax.cost.measure import Measured, measure_networks, profile, sample_architectures
from hwnas_jax.cost.metrics import mape, share_within, spearman
from hwnas_jax.cost.mlp import MLPEnsemble
from hwnas_jax.cost.observations import METRICS, CostTable, Observations
from hwnas_jax.cost.prior import TransferConfig, choose_samples, learn_prior
from hwnas_jax.cost.records import Measurements, Sample, load_measurements
from hwnas_jax.cost.roofline import Machine, RooflineModel, measure_machine
from hwnas_jax.cost.table import TableModel
from hwnas_jax.cost.transfer import TransferModel, fit_transfer

__all__ = [
    "COST_MODELS",
    "METRICS",
    "TPU",
    "Accelerator",
    "AnalyticModel",
    "AttentionEnsemble",
    "CostModel",
    "CostTable",
    "FitReport",
    "LinearEnsemble",
    "BayesianAdditive",
    "GaussianProcess",
    "MLPEnsemble",
    "Machine",
    "Measured",
    "Measurements",
    "Observations",
    "RooflineModel",
    "Sample",
    "TableModel",
    "TransferConfig",
    "TransferModel",
    "choose_samples",
    "compile_network",
    "compile_operation",
    "estimate",
    "fit_cost",
    "fit_transfer",
    "learn_prior",
    "load_cost_model",
    "load_measurements",
    "mape",
    "measure_machine",
    "measure_networks",
    "predict_architectures",
    "profile",
    "sample_architectures",
    "share_within",
    "spearman",
    "std_architectures",
]
