"""The Gaussian process of Optuna."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from hwnas_jax.export import require
from hwnas_jax.search.strategies.base import STRATEGIES
from hwnas_jax.search.strategies.optuna_learner import OptunaLearner
from hwnas_jax.search.strategies.optuna_study import EXTRA, load_optuna

if TYPE_CHECKING:
    import optuna


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class OptunaGP(OptunaLearner):
    """Fits a Gaussian process and asks for the architecture of largest expected improvement.

    The kernel is a Matérn 5/2 with a length scale for each decision, over which options are equal
    or different. Where something was over the budget, a second process learns by how much, and the
    improvement is weighed by the chance to keep it. A suggestion takes more than ten times as long
    as one of `optuna_tpe`, so this is for evaluations that take seconds at least.

    References: Jones, Schonlau and Welch, "Efficient Global Optimization of Expensive Black-Box
    Functions", 1998; Ament et al., "Unexpected Improvements to Expected Improvement for Bayesian
    Optimization", NeurIPS 2023. The sampler is Optuna's `GPSampler`, which needs PyTorch.
    """

    name = "optuna_gp"
    summary = "Optuna's Gaussian process: the largest expected improvement, at some expense"

    tries: Annotated[int, Ge(1)] = 2
    """suggestions for each; the first that is new and predicted to keep the budget is asked for.
    Where there is none, changes of them are tried"""

    def needs(self) -> None:
        """Raises UserError when Optuna or PyTorch is missing."""
        load_optuna()
        require("torch", EXTRA)

    def sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        """Returns Optuna's `GPSampler`."""
        return load_optuna().samplers.GPSampler(
            n_startup_trials=self.initial, warn_independent_sampling=False, seed=seed
        )
