"""How architectures are proposed: ask and tell."""

from hwnas_jax.search.strategies.base import (
    GRADIENT,
    STRATEGIES,
    History,
    Strategy,
    Told,
    best_so_far,
    check_strategy,
    fitness,
    run_strategy,
)
from hwnas_jax.search.strategies.evolution import Queue, RegularisedEvolution
from hwnas_jax.search.strategies.moves import mutated, pick, random_architectures
from hwnas_jax.search.strategies.random import RandomSearch

__all__ = [
    "GRADIENT", "STRATEGIES", "History", "Queue", "RandomSearch", "RegularisedEvolution",
    "Strategy", "Told", "best_so_far", "check_strategy", "fitness", "mutated", "pick",
    "random_architectures", "run_strategy",
]  # fmt: skip
