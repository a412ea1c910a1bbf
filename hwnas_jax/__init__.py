"""hwnas_jax: hardware-aware neural architecture search in JAX."""

from hwnas_jax.config import Config, load_config, override, save_config
from hwnas_jax.cost import (
    fit_cost,
    load_cost_model,
    load_measurements,
    measure_networks,
    predict_architectures,
    profile,
)
from hwnas_jax.data import load_data
from hwnas_jax.display import Terminal
from hwnas_jax.errors import Interrupted, UserError
from hwnas_jax.relax import RELAXATIONS, Gates
from hwnas_jax.report import write_report
from hwnas_jax.runs.run import STAGES, Run
from hwnas_jax.runs.sweep import Sweep, Wanted
from hwnas_jax.search import (
    Target,
    cost_range,
    make_members,
    make_search,
    resolve_target,
    search_architecture,
    search_population,
    within_budget,
)
from hwnas_jax.spaces import SPACES, Space, make_space
from hwnas_jax.spaces.core.architecture_files import load_architecture, save_architecture
from hwnas_jax.train.training import train

__all__ = [
    "RELAXATIONS", "SPACES", "STAGES", "Config", "Gates", "Interrupted", "Run", "Space", "Sweep",
    "Target", "Terminal", "UserError", "Wanted", "cost_range", "fit_cost", "load_architecture",
    "load_config", "load_cost_model", "load_data", "load_measurements", "make_members",
    "make_search", "make_space", "measure_networks", "override", "predict_architectures",
    "profile", "resolve_target", "save_architecture", "save_config", "search_architecture",
    "search_population", "train", "within_budget", "write_report",
]  # fmt: skip
