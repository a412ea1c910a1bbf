"""Readers of published cost tables. Each returns a `CostTable` whose every row was checked."""

from hwnas_jax.cost.files.readers.load import load_table
from hwnas_jax.cost.files.readers.locate import find_data
from hwnas_jax.cost.files.readers.observed import Observed, load_observations

__all__ = ["Observed", "find_data", "load_observations", "load_table"]
