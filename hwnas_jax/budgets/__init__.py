"""How the hardware enters a search."""

from hwnas_jax.budgets.absolute_reward import AbsoluteReward
from hwnas_jax.budgets.base import BUDGETS, Budget, BudgetState, Costs, check_budget
from hwnas_jax.budgets.dual_ascent import DualAscent
from hwnas_jax.budgets.fixed_weight import FixedWeight
from hwnas_jax.budgets.product import Product
from hwnas_jax.budgets.upper_bound import UpperBound

__all__ = [
    "BUDGETS", "AbsoluteReward", "Budget", "BudgetState", "Costs", "DualAscent", "FixedWeight",
    "Product", "UpperBound", "check_budget",
]  # fmt: skip
