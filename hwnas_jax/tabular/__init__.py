"""Benchmarks: what others, or `hwnas table`, have trained, to be looked up."""

from hwnas_jax.tabular.base import Benchmark, look_up, make_benchmark
from hwnas_jax.tabular.builtin import BUILT_IN, built_in_table
from hwnas_jax.tabular.evaluator import Table
from hwnas_jax.tabular.load import load_benchmark
from hwnas_jax.tabular.standing import check_decisions, known_networks, percentile

__all__ = [
    "BUILT_IN", "Benchmark", "Table", "built_in_table", "check_decisions", "known_networks",
    "load_benchmark", "look_up", "make_benchmark", "percentile",
]  # fmt: skip
