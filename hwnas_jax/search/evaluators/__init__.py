"""How good an architecture is."""

from typing import Any

from hwnas_jax.search.evaluators.base import EVALUATORS, Evaluator

Bench: Any = dict

__all__ = ["EVALUATORS", "Bench", "Evaluator"]
