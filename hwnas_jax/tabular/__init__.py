"""Published benchmarks: what others have trained, to be looked up."""

from hwnas_jax.tabular.base import Benchmark, look_up, make_benchmark
from hwnas_jax.tabular.evaluator import Table
from hwnas_jax.tabular.load import load_benchmark
from hwnas_jax.tabular.standing import check_decisions, known_networks, percentile

__all__ = [
    "Benchmark", "Table", "check_decisions", "known_networks", "load_benchmark", "look_up",
    "make_benchmark", "percentile",
]  # fmt: skip
