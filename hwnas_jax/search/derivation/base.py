"""From what a search found to networks in order: which is tried first.

Legend: `N` candidates, `D` decisions, `K` options of the widest decision.

A `Derivation` orders candidates that all meet the budget. It is handed what the search knows of
them and may ask the supernet.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from hwnas_jax.registry import Registry


class Candidates(NamedTuple):
    """Networks that meet the budget, each in its canonical form, once.

    Attributes:
      networks: `int32[N, D]`.
      log_probability: `float64[N]`, natural logarithm of the probability of all architectures that
        build the network, under the search.
      log_prior: `float64[N]`, likewise where the search began: a network that many architectures
        build has more of it from the start.
      predicted: `{metric: float32[N]}`.
    """

    networks: np.ndarray
    log_probability: np.ndarray
    log_prior: np.ndarray
    predicted: dict[str, np.ndarray]


class Searched(NamedTuple):
    """What a search left.

    Attributes:
      probabilities: `float32[D, K]`.
      prior: `float32[D, K]`, the probabilities it began with.
      weights: `float32[P]`, the supernet's.
      judge: `(weights, int32[n, D]) -> {"loss": float[n], metric: float[n]}`, of the task, by
        the supernet on the half of the data that the architecture learned from.
      metric: the task's primary metric.
      higher_is_better: whether more of it is better.
    """

    probabilities: np.ndarray
    prior: np.ndarray
    weights: np.ndarray
    judge: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
    metric: str
    higher_is_better: bool


@dataclasses.dataclass(frozen=True)
class Derivation(abc.ABC):
    """A rule that orders the networks a search found. The fields of a subclass are its options.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    @abc.abstractmethod
    def order(self, candidates: Candidates, searched: Searched, progress: Any) -> np.ndarray:
        """Returns row numbers of the candidates, `int[n]` with `n <= N`, the best first.

        Args:
          candidates: all that meet the budget.
          searched: what the search left.
          progress: called as `(done, total, what)`.
        """


DERIVATIONS: Registry[Derivation] = Registry("derivation", Derivation, "hwnas_jax.derivations")  # type: ignore[type-abstract]
