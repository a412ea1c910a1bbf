"""How architectures are proposed: ask and tell."""

from hwnas_jax.search.strategies.assisted import AssistedSearch
from hwnas_jax.search.strategies.bananas import Bananas
from hwnas_jax.search.strategies.base import (
    GRADIENT,
    STRATEGIES,
    Ahead,
    Evaluate,
    History,
    Outlook,
    SoftAhead,
    Strategy,
    Told,
    best_so_far,
    check_strategy,
    fitness,
    no_budget,
    one_round,
    run_strategy,
)
from hwnas_jax.search.strategies.elimination import Elimination
from hwnas_jax.search.strategies.evolution import Queue, RegularisedEvolution
from hwnas_jax.search.strategies.front_surrogate import FrontSurrogate
from hwnas_jax.search.strategies.gradient_surrogate import GradientSurrogate
from hwnas_jax.search.strategies.hyperband import Hyperband
from hwnas_jax.search.strategies.local_search import LocalSearch
from hwnas_jax.search.strategies.moves import (
    Options,
    away_from,
    mutated,
    options_of,
    pick,
    random_architectures,
    within_budget,
)
from hwnas_jax.search.strategies.nsga2 import NSGA2
from hwnas_jax.search.strategies.optuna_gp import OptunaGP
from hwnas_jax.search.strategies.optuna_nsga2 import OptunaNSGA2
from hwnas_jax.search.strategies.optuna_tpe import OptunaTPE
from hwnas_jax.search.strategies.quick_keys import QUICK, quick_keys
from hwnas_jax.search.strategies.random import RandomSearch
from hwnas_jax.search.strategies.reinforce import ReinforceSearch
from hwnas_jax.search.strategies.successive_halving import SuccessiveHalving
from hwnas_jax.search.strategies.surrogate import SurrogateSearch

__all__ = [
    "GRADIENT", "NSGA2", "QUICK", "STRATEGIES", "Ahead", "AssistedSearch", "Bananas",
    "Elimination", "Evaluate", "FrontSurrogate", "GradientSurrogate", "History", "Hyperband",
    "LocalSearch", "Options", "OptunaGP", "OptunaNSGA2", "OptunaTPE", "Outlook", "Queue",
    "RandomSearch", "RegularisedEvolution", "ReinforceSearch", "SoftAhead", "Strategy",
    "SuccessiveHalving", "SurrogateSearch", "Told", "away_from", "best_so_far", "check_strategy",
    "fitness", "mutated", "no_budget", "one_round", "options_of", "pick", "quick_keys",
    "random_architectures", "run_strategy", "within_budget",
]  # fmt: skip
