"""What an architecture costs: measured, looked up, counted or learned."""

from hwnas_jax.cost.files.measurement_file import load_measurements, save_measurements
from hwnas_jax.cost.files.measurements import Measurements, Sample
from hwnas_jax.cost.files.observations import METRICS, CostTable, Observations
from hwnas_jax.cost.judge.metrics import mape, share_within, spearman
from hwnas_jax.cost.measure.build import compile_network, compile_operation
from hwnas_jax.cost.measure.profile import Measured, measure_networks, profile, sample_architectures
from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.attention import AttentionEnsemble
from hwnas_jax.cost.models.base import CostModel, predict_architectures, std_architectures
from hwnas_jax.cost.models.bayesian import BayesianAdditive
from hwnas_jax.cost.models.fit import COST_MODELS, FitReport, fit_cost, load_cost_model
from hwnas_jax.cost.models.gaussian import GaussianProcess
from hwnas_jax.cost.models.linear import LinearEnsemble
from hwnas_jax.cost.models.mlp import MLPEnsemble
from hwnas_jax.cost.models.prior import TransferConfig, choose_samples, learn_prior
from hwnas_jax.cost.models.roofline import Machine, RooflineModel, measure_machine
from hwnas_jax.cost.models.table import TableModel
from hwnas_jax.cost.models.transfer import TransferModel, fit_transfer
from hwnas_jax.cost.simulate.accelerator import Accelerator
from hwnas_jax.cost.simulate.compiler import TPU
from hwnas_jax.cost.simulate.estimates import estimate

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
    "save_measurements",
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
