"""How architectures are proposed: ask and tell."""

from hwnas_jax.search.strategies.base import (
    GRADIENT,
    STRATEGIES,
    Ahead,
    History,
    Outlook,
    Strategy,
    Told,
    best_so_far,
    check_strategy,
    fitness,
    no_budget,
    run_strategy,
)
from hwnas_jax.search.strategies.evolution import Queue, RegularisedEvolution
from hwnas_jax.search.strategies.moves import (
    mutated,
    pick,
    random_architectures,
    within_budget,
)
from hwnas_jax.search.strategies.random import RandomSearch

__all__ = [
    "GRADIENT", "STRATEGIES", "Ahead", "History", "Outlook", "Queue", "RandomSearch",
    "RegularisedEvolution", "Strategy", "Told", "best_so_far", "check_strategy", "fitness",
    "mutated", "no_budget", "pick", "random_architectures", "run_strategy", "within_budget",
]  # fmt: skip
