"""From what a search found to networks in order: which one is tried first.

Legend: `N` candidates, `D` decisions, `K` options of the widest decision.

A `Derivation` orders candidates that all meet the budget. It is handed what the search knows of
them and may ask the supernet.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.parallel.progress import Progress
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
      counts: `{"macs": float32[N], "params": float32[N]}`, counted.
      scores: `float64[N]`, what a strategy was told of each, higher is better; None of a gradient
        search. A strategy has no probabilities: they are NaN.
    """

    networks: np.ndarray
    log_probability: np.ndarray
    log_prior: np.ndarray
    predicted: dict[str, np.ndarray]
    counts: dict[str, np.ndarray]
    scores: np.ndarray | None = None


class Searched(NamedTuple):
    """What a search left, and what can be asked of its supernet.

    The supernet judges on the half of the training data that the architecture learned from, and
    normalises by the statistics of each candidate's own batches, as in the search.

    Attributes:
      probabilities: `float32[D, K]`; None of a strategy.
      prior: `float32[D, K]`, the probabilities it began with; None of a strategy.
      weights: `float32[P]`, the supernet's; None where no supernet was trained.
      judge: `(weights, int32[n, D]) -> {"loss": float[n], metric: float[n]}` of architectures; only
        the chosen options run.
      judge_mixed: `(weights, float32[n, D, K]) -> likewise`, of gates; all options run.
      tune: `(weights, float32[D, K], steps) -> weights`, trained on at these gates on the other
        half.
      train: `(weights, int32[n, D], steps, progress, *, seed) -> {"loss": float[n], metric:
        float[n], "training_loss": float[n]}`, of architectures that are trained for so many steps
        on the other half, each with weights of its own, and then judged; the training loss is the
        mean over the last fifth of the steps. All start from the weights that are given, or from
        the same new ones where none are, and see the same batches, both by the seed.
      metric: the task's primary metric.
      higher_is_better: whether more of it is better.
    """

    probabilities: np.ndarray | None
    prior: np.ndarray | None
    weights: np.ndarray | None
    judge: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
    judge_mixed: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
    tune: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
    train: Callable[..., dict[str, np.ndarray]]
    metric: str
    higher_is_better: bool


@dataclasses.dataclass(frozen=True)
class Derivation(abc.ABC):
    """A rule that orders the networks a search found. The fields of a subclass are its options.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
      needs_weights: whether it asks the supernet of a gradient search, and so cannot do without
        its weights and probabilities.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    needs_weights: ClassVar[bool] = False

    @abc.abstractmethod
    def order(
        self, candidates: Candidates, searched: Searched, progress: Progress, *, seed: int
    ) -> np.ndarray:
        """Returns row numbers of the candidates, `int[n]` with `n <= N`, the best first.

        Args:
          candidates: all that meet the budget.
          searched: what the search left.
          progress: reports what is done.
          seed: of what the rule draws.
        """

    def with_more_passes(self, passes: int) -> "Derivation":
        """Returns the rule with more to spend on trainings of its own; by default as it is.

        Args:
          passes: forward and backward passes of one path with one batch.
        """
        del passes
        return self


DERIVATIONS: Registry[Derivation] = Registry("derivation", Derivation, "hwnas_jax.derivations")  # type: ignore[type-abstract]


def check_order(rule: Derivation, rows: np.ndarray, count: int) -> np.ndarray:
    """Returns the order that a rule gave, when it names candidates, each once.

    Raises:
      UserError: when it does not.
    """
    rows = np.asarray(rows)
    fine = rows.ndim == 1 and len(rows) and np.issubdtype(rows.dtype, np.integer)
    fine = fine and rows.min() >= 0 and rows.max() < count and len(set(rows.tolist())) == len(rows)
    if not fine:
        raise UserError(
            f"derivation {rule.name}: order must return different row numbers from 0 to "
            f"{count - 1}, got {rows.tolist()[:10]}"
        )
    return rows
