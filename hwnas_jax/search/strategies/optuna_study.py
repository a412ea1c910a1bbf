"""A search as Optuna sees it: what was told as a study in memory, and what a sampler suggests.

Everything here runs on the host. Optuna is imported when it is used.

Legend: `N` architectures that were told, `n` asked for, `T` suggestions for each, `D` decisions,
`K` options of the widest decision.
"""

import dataclasses
import functools
import types
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hwnas_jax.export import require

if TYPE_CHECKING:
    import optuna

EXTRA = "blackbox"
"""The extra that brings Optuna."""
BUDGET = "budget"
"""What Optuna calls the constraint."""
_CHANGES = 3
"""Changes of each suggestion in one decision, as many in two and in three."""
DIRECTIONS = ("maximize", "minimize")
"""Of the score and of the cost."""


@functools.cache
def load_optuna() -> types.ModuleType:
    """Returns the module; UserError names the extra where it is missing."""
    module = require("optuna", EXTRA)
    # Otherwise it prints a line for every study, and there is one in every round.
    module.logging.set_verbosity(module.logging.WARNING)
    return module


class Records(NamedTuple):
    """What is known of a search, in the order in which it was told.

    Attributes:
      architectures: `int32[N, D]`, those that were judged.
      score: `float[N]`, higher is better.
      excess: `float[N]`, how far over the budget each lies, as a share of it.
      cost: `float[N]`, lower is better.
      running: `int32[R, D]`, those that are being evaluated.
      other: `int32[O, D]`, those of which a sampler is not told. What could not be judged is among
        them.
    """

    architectures: np.ndarray
    score: np.ndarray
    excess: np.ndarray
    cost: np.ndarray
    running: np.ndarray
    other: np.ndarray

    def rows(self, which: np.ndarray) -> "Records":
        """Returns the same, in which a sampler is told of `which` (`int[m]`) alone."""
        others = np.delete(self.architectures, which, axis=0)
        return Records(
            self.architectures[which], self.score[which], self.excess[which], self.cost[which],
            running=self.running, other=np.concatenate([self.other, others]),
        )  # fmt: skip

    def seen(self) -> set[bytes]:
        """Returns everything that needs no further evaluation, each as `name_of` names it."""
        every = (self.architectures, self.running, self.other)
        return {name_of(row) for rows in every for row in rows}


def name_of(architecture: np.ndarray) -> bytes:
    """Returns what two equal architectures (`int[D]`) have in common."""
    return np.asarray(architecture, np.int32).tobytes()


@dataclasses.dataclass(frozen=True)
class Decisions:
    """The decisions of a space as Optuna's parameters. Those with a single option are left out.

    Attributes:
      options: the options that exist, for each decision.
    """

    options: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, mask: np.ndarray) -> "Decisions":
        """Returns the decisions of a mask, `bool[D, K]`."""
        return _decisions(tuple(tuple(np.flatnonzero(row).tolist()) for row in np.asarray(mask)))

    @functools.cached_property
    def distributions(self) -> dict[str, "optuna.distributions.BaseDistribution"]:
        """Each decision as a choice among its options, without any order."""
        return self._as(load_optuna().distributions.CategoricalDistribution)

    @functools.cached_property
    def in_memory(self) -> dict[str, "optuna.distributions.BaseDistribution"]:
        """The same for a study in memory, where a sampler is several times faster with them."""
        return self._as(_quick_choice())

    def _as(self, kind):
        return {
            f"decision_{place}": kind(options)
            for place, options in enumerate(self.options)
            if len(options) > 1
        }

    def params(self, architecture: np.ndarray) -> dict[str, int]:
        """Returns the parameters of an architecture, `int[D]`."""
        return {
            f"decision_{place}": int(architecture[place])
            for place, options in enumerate(self.options)
            if len(options) > 1
        }

    def architecture(self, params: dict[str, int]) -> np.ndarray:
        """Returns the architecture of parameters, `int32[D]`."""
        chosen = [
            params.get(f"decision_{place}", options[0] if options else 0)
            for place, options in enumerate(self.options)
        ]
        return np.array(chosen, np.int32)

    def changed(self, rng: np.random.Generator, architecture: np.ndarray, count: int) -> np.ndarray:
        """Returns the architecture with `count` decisions at other options, `int32[D]`.

        There are fewer where fewer decisions have several options.
        """
        free = [place for place, options in enumerate(self.options) if len(options) > 1]
        child = np.array(architecture, np.int32)
        for place in rng.permutation(free)[:count].astype(int):
            others = [option for option in self.options[place] if option != child[place]]
            child[place] = others[rng.integers(len(others))]
        return child


@functools.cache
def _decisions(options: tuple[tuple[int, ...], ...]) -> Decisions:
    return Decisions(options)


@functools.cache
def _quick_choice():
    class Choice(load_optuna().distributions.CategoricalDistribution):  # type: ignore[misc]
        """Optuna copies the options of every trial, and compares all of them for every suggestion.

        They never change, so that one object can stand for all.
        """

        def __deepcopy__(self, memo):
            return self

        def __eq__(self, other):
            return self is other or super().__eq__(other)

        __hash__ = None  # type: ignore[assignment]

    return Choice


@functools.lru_cache(4096)
def _trial(decisions: Decisions, name: bytes, values: tuple[float, ...], excess: float | None):
    """Returns a trial that was told; consecutive rounds have all but the last in common."""
    return load_optuna().trial.create_trial(
        params=decisions.params(np.frombuffer(name, np.int32)),
        distributions=decisions.in_memory,
        values=values,
        constraints=None if excess is None else {BUDGET: excess},
    )


def study_of(
    decisions: Decisions, records: Records, sampler: "optuna.samplers.BaseSampler", objectives: int
) -> "optuna.Study":
    """Returns a study in memory in which everything was told.

    Args:
      decisions: of the space.
      records: what was told.
      sampler: what will be asked.
      objectives: one for the score alone, two for the score and the cost.
    """
    optuna = load_optuna()
    study = optuna.create_study(directions=DIRECTIONS[:objectives], sampler=sampler)
    # Where all keep the budget a constraint says nothing, and a sampler may spend time on it.
    limited = bool((records.excess > 0).any())
    for row, score, excess, cost in zip(*records[:4], strict=True):
        values = (float(score), float(cost))[:objectives]
        study.add_trial(_trial(decisions, name_of(row), values, float(excess) if limited else None))
    for row in records.running:
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params=decisions.params(row), distributions=decisions.in_memory,
        )  # fmt: skip
        study.add_trial(trial)
    return study


def first_suggestions(
    study: "optuna.Study", decisions: Decisions, records: Records, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns one suggestion for each architecture of a round, and whether it is new.

    Args:
      study: what `study_of` returned.
      decisions: of the space.
      records: what the study was made of.
      count: `n`.

    Returns:
      `int32[n, D]` and `bool[n]`; what equals another of the round is not new either.
    """
    rows, new, seen = [], [], records.seen()
    for _ in range(count):
        # The trial stays in the study as one that runs, so that the next differs from it.
        row = decisions.architecture(study.ask(decisions.in_memory).params)
        rows.append(row)
        new.append(name_of(row) not in seen)
        seen.add(name_of(row))
    return np.array(rows, np.int32).reshape(count, -1), np.array(new, bool)


def further_suggestions(
    study: "optuna.Study", decisions: Decisions, records: Records,
    refused: np.ndarray, tries: int, rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Returns what else to take in place of one suggestion.

    Args:
      study: what `study_of` returned.
      decisions: of the space.
      records: what the study was made of.
      refused: `int32[D]`, the suggestion that is not new, or over the budget.
      tries: the sampler is asked so many times less one. Then follow changes of all its
        suggestions, `refused` among them, first in one decision, then in two, then in three.
      rng: draws the changes.

    Returns:
      `int32[T, D]` and `bool[T]`, whether each is new; `T` is `number_of_further(tries)`.
    """
    asked = [
        decisions.architecture(study.ask(decisions.in_memory).params) for _ in range(tries - 1)
    ]
    rows = asked + [
        decisions.changed(rng, row, count)
        for count in (1, 2, 3)
        for _ in range(_CHANGES)
        for row in (refused, *asked)
    ]
    seen = records.seen()
    return np.array(rows, np.int32), np.array([name_of(row) not in seen for row in rows], bool)


def number_of_further(tries: int) -> int:
    """Returns how many architectures `further_suggestions` returns."""
    return tries - 1 + 3 * _CHANGES * tries


def records_of(
    architectures: np.ndarray, score: np.ndarray, excess: np.ndarray, cost: np.ndarray,
    filled: np.ndarray, learned: np.ndarray,
) -> Records:  # fmt: skip
    """Returns the records of a strategy's state.

    Args:
      architectures: `int32[M, D]`.
      score: `float32[M]`; what has no finite score could not be judged.
      excess: `float32[M]`, likewise.
      cost: `float32[M]`, likewise.
      filled: `bool[M]`, which rows there are.
      learned: `bool[M]`, of which of them a sampler is told.
    """
    known = filled & learned
    for numbers in (score, excess, cost):
        known = known & np.isfinite(numbers)
    return Records(
        architectures[known], score[known], excess[known], cost[known],
        running=architectures[:0], other=architectures[filled & ~known],
    )  # fmt: skip
