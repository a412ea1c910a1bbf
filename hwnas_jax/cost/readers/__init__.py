"""Readers of published cost tables; each returns a `CostTable` that has been checked row by row."""

from hwnas_jax.cost.readers.load import load_table
from hwnas_jax.cost.readers.locate import find_data

__all__ = ["find_data", "load_table"]
