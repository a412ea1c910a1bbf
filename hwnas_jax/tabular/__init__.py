"""Published benchmarks: what others have trained, to be looked up."""

from hwnas_jax.tabular.base import Benchmark, look_up, make_benchmark
from hwnas_jax.tabular.evaluator import Table
from hwnas_jax.tabular.load import load_benchmark

__all__ = ["Benchmark", "Table", "load_benchmark", "look_up", "make_benchmark"]
