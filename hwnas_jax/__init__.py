"""hwnas_jax: hardware-aware neural architecture search in JAX."""

from hwnas_jax import data
from hwnas_jax.budgets import BUDGETS
from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config, load_config, override, save_config
from hwnas_jax.cost import (
    CostTable,
    Observations,
    fit_cost,
    fit_model,
    load_cost_model,
    load_measurements,
    load_table,
    measure_fidelity,
    measure_networks,
    predict_architectures,
    profile,
    run_study,
)
from hwnas_jax.data import load_data
from hwnas_jax.display import Terminal
from hwnas_jax.errors import Interrupted, UserError
from hwnas_jax.registry import Part
from hwnas_jax.relax import RELAXATIONS, Gates
from hwnas_jax.report import write_report
from hwnas_jax.runs.compare.settings import Comparison
from hwnas_jax.runs.compare.study import compare
from hwnas_jax.runs.gradient_search import search_architecture
from hwnas_jax.runs.population import make_members, search_population
from hwnas_jax.runs.retrain import train
from hwnas_jax.runs.run import STAGES, Run
from hwnas_jax.runs.shared_weights import evaluate
from hwnas_jax.runs.sources.settings import SourceComparison
from hwnas_jax.runs.sources.study import compare_sources
from hwnas_jax.runs.wanted import Wanted
from hwnas_jax.search.candidates import cost_range, resolve_target, within_budget
from hwnas_jax.search.estimators import ESTIMATORS
from hwnas_jax.search.evaluators import EVALUATORS
from hwnas_jax.search.strategies import STRATEGIES
from hwnas_jax.spaces import SPACES, Space, make_space
from hwnas_jax.spaces.core.architecture_files import load_architecture, save_architecture
from hwnas_jax.tabular.make import TableSettings, make_table
from hwnas_jax.tasks import TASKS

__all__ = [
    "BUDGETS", "ESTIMATORS", "EVALUATORS", "RELAXATIONS", "SPACES", "STAGES", "STRATEGIES", "TASKS",
    "Comparison", "Config", "CostTable", "Gates", "Interrupted", "Observations", "Part", "Run",
    "SourceComparison", "Space", "TableSettings", "Target", "Terminal", "UserError", "Wanted",
    "compare", "compare_sources", "cost_range", "data", "evaluate", "fit_cost", "fit_model",
    "load_architecture", "load_config", "load_cost_model", "load_data", "load_measurements",
    "load_table", "make_members", "make_space", "make_table", "measure_fidelity",
    "measure_networks", "override", "predict_architectures", "profile", "resolve_target",
    "run_study", "save_architecture", "save_config", "search_architecture", "search_population",
    "train", "within_budget", "write_report",
]  # fmt: skip
