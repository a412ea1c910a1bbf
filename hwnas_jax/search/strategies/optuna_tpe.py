"""The tree-structured Parzen estimator of Optuna."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from hwnas_jax.search.strategies.base import STRATEGIES
from hwnas_jax.search.strategies.optuna_learner import OptunaLearner
from hwnas_jax.search.strategies.optuna_study import load_optuna

if TYPE_CHECKING:
    import optuna


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class OptunaTPE(OptunaLearner):
    """Asks for what is likely among the best tenth so far and unlikely among the others.

    Two densities over all decisions together are estimated, of the best and of the rest. Candidates
    are drawn from the first, and that with the largest ratio of both is suggested. What is over the
    budget counts as worse than all within it, the nearer to it the better.

    References: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011;
    Watanabe, "Tree-Structured Parzen Estimator: Understanding Its Algorithm Components and Their
    Roles for Better Empirical Performance", 2023. The sampler is Optuna's `TPESampler`.
    """

    name = "optuna_tpe"
    summary = "Optuna's tree-structured Parzen estimator: likely among the best, not among the rest"

    candidates: Annotated[int, Ge(1)] = 24
    """architectures that are drawn for each suggestion"""

    def sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        """Returns Optuna's `TPESampler`."""
        return load_optuna().samplers.TPESampler(
            n_startup_trials=self.initial,
            n_ei_candidates=self.candidates,
            multivariate=True,
            constant_liar=True,
            seed=seed,
        )
