"""What an architecture costs: measured, looked up, counted or learned.

Five folders, each of which knows only those before it:

    files      what was observed, and the files that hold it
    simulate   costs on hardware that is described or compiled for, but not there
    models     cost models, which predict from observations
    measure    timing and energy on a device
    judge      how good a cost model is
"""

from hwnas_jax.cost.files.measurement_file import load_measurements, save_measurements
from hwnas_jax.cost.files.measurements import Measurements, Sample
from hwnas_jax.cost.files.observations import METRICS, CostTable, Observations
from hwnas_jax.cost.files.readers import load_table
from hwnas_jax.cost.judge.fit import FitReport, fit_cost
from hwnas_jax.cost.judge.gradient_fidelity import complete_table, measure_fidelity
from hwnas_jax.cost.judge.metrics import mape, share_within, spearman
from hwnas_jax.cost.judge.study import Study, run_study
from hwnas_jax.cost.measure.networks import Measured, measure_networks
from hwnas_jax.cost.measure.profile import profile
from hwnas_jax.cost.models import (
    COST_MODELS,
    AnalyticModel,
    AttentionEnsemble,
    BayesianAdditive,
    CostModel,
    ExactModel,
    FittedModel,
    GaussianProcess,
    LinearEnsemble,
    MLPEnsemble,
    RooflineModel,
    TableModel,
    TransferModel,
    WithCounts,
    load_cost_model,
    on_canonical_forms,
    predict_architectures,
    std_architectures,
)
from hwnas_jax.cost.models.model_file import check_array
from hwnas_jax.cost.models.prior import TransferConfig, choose_samples, learn_prior
from hwnas_jax.cost.models.registry import fit_model
from hwnas_jax.cost.models.roofline import Machine, measure_machine
from hwnas_jax.cost.simulate.accelerator import Accelerator
from hwnas_jax.cost.simulate.compiler import TPU
from hwnas_jax.cost.simulate.estimates import estimate

__all__ = [
    "COST_MODELS", "METRICS", "TPU", "Accelerator", "AnalyticModel", "AttentionEnsemble",
    "BayesianAdditive", "CostModel", "CostTable", "ExactModel", "FitReport", "FittedModel",
    "GaussianProcess", "LinearEnsemble", "MLPEnsemble", "Machine", "Measured", "Measurements",
    "Observations", "RooflineModel", "Sample", "Study", "TableModel", "TransferConfig",
    "TransferModel", "WithCounts", "check_array", "choose_samples", "complete_table",
    "estimate", "fit_cost", "fit_model", "learn_prior", "load_cost_model", "load_measurements",
    "load_table", "mape", "measure_fidelity", "measure_machine", "measure_networks",
    "on_canonical_forms", "predict_architectures", "profile", "run_study", "save_measurements",
    "share_within", "spearman", "std_architectures",
]  # fmt: skip
