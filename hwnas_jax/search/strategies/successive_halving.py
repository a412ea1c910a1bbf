"""Successive halving: many architectures judged cheaply, the best of them again at more cost."""

import dataclasses
from typing import Annotated

from annotated_types import Ge

from hwnas_jax.errors import UserError
from hwnas_jax.search.strategies.base import STRATEGIES
from hwnas_jax.search.strategies.rungs import Bracket, Brackets, bracket


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class SuccessiveHalving(Brackets):
    """Evaluates random architectures at the lowest fidelity and lets the best go on to the next.

    Of `start` architectures the best 1/eta are evaluated at the next higher fidelity, and so on to
    the highest. Then it begins again with new ones.

    References: Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter
    Optimization", AISTATS 2016; the keeping of 1/eta is as in Li et al., "Hyperband", JMLR 2018.
    """

    name = "successive_halving"
    summary = "judges many at a low fidelity, and the best of them at higher ones"

    start: Annotated[int, Ge(2)] = 27
    """architectures that are evaluated at the lowest fidelity before the best go on"""

    def __post_init__(self):
        least = self.eta ** (self.fidelities - 1)
        if self.start < least:
            raise UserError(
                f"strategy successive_halving: of start = {self.start} architectures none is left "
                f"for the highest of {self.fidelities} fidelities when one of eta = {self.eta} "
                f"goes on; start must be at least {least}"
            )

    @property
    def brackets(self) -> tuple[Bracket, ...]:
        """One bracket through all fidelities."""
        return (bracket(self.start, self.eta, self.fidelities - 1),)
