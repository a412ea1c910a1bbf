"""How the hardware enters a search."""

from hwnas_jax.budgets.base import BUDGETS, Budget, BudgetState, check_budget
from hwnas_jax.budgets.dual_ascent import DualAscent

__all__ = ["BUDGETS", "Budget", "BudgetState", "DualAscent", "check_budget"]
