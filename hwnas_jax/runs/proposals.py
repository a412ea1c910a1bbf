"""The networks that a search and its controls propose: within the budget, the best first."""

import functools

import numpy as np

from hwnas_jax.budgets import BUDGETS
from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.data import Dataset
from hwnas_jax.data.pipeline import augmentation
from hwnas_jax.errors import UserError, choose
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.runs.controls import (
    CONTROLS,
    MOST_MACS,
    NO_SEARCH,
    by_chance,
    by_macs,
    passes_of_search,
    rule_without_search,
    without_search,
)
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.gradient_search import examples_of
from hwnas_jax.search.candidates import (
    Candidate,
    as_candidate,
    bounded_costs,
    counts_of,
    keeping,
    within_budget,
)
from hwnas_jax.search.decided import Decided, how_decided
from hwnas_jax.search.derivation import (
    DERIVATIONS,
    Candidates,
    Derivation,
    Searched,
    check_order,
)
from hwnas_jax.search.judge import Judge
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import make_task


class Proposals:
    """What the searches of a run, and the controls beside them, propose.

    Args:
      space: the search space.
      dataset: the supernet judges on it where a rule asks for that.
      cost_model: predicts the costs.
      config: the experiment.
      found: what the searches left.

    Attributes:
      decided: by number of a gradient search that was asked, how decided it was at its end.
    """

    def __init__(
        self, space: Space, dataset: Dataset, cost_model: CostModel, config: Config, found: Found
    ):
        if found.probabilities is None and found.networks is None:
            raise UserError("the search left neither probabilities nor networks")
        self._space, self._dataset, self._model = space, dataset, cost_model
        self._config, self._found = config, found
        self._budget = BUDGETS.make(config.budget)
        self.decided: dict[int, Decided] = {}

    @property
    def by_gradient(self) -> bool:
        """Whether the searches were gradient searches, which leave probabilities and weights."""
        return self._found.probabilities is not None

    def of(
        self,
        number: int,
        target: Target,
        seed: int,
        progress: Progress | None = None,
        *,
        label: str = "search",
    ) -> list[Candidate]:
        """Returns the networks within the budget that one search proposes, the best first.

        Args:
          number: of the search.
          target: the budget.
          seed: of the search.
          progress: reports what is done.
          label: of the search.

        Raises:
          UserError: when nothing meets the budget, or the rule does not keep its contract.
        """
        if not self.by_gradient:
            candidates = self._told(number, target)
            rows = self._ordered(candidates, number, seed, progress)
            return [as_candidate(candidates, target, row) for row in rows]
        assert self._found.probabilities is not None and self._found.prior is not None
        probabilities, prior = self._found.probabilities[number], self._found.prior
        candidates = within_budget(
            self._space, self._model, target, self._budget,
            probabilities=probabilities, prior=prior, seed=seed,
        )  # fmt: skip
        rows = self._ordered(candidates, number, seed, progress)
        self.decided[number] = how_decided(
            self._space, self._model, target, self._budget, candidates, probabilities,
            derived=rows[0], search=label, seed=seed,
        )  # fmt: skip
        return [as_candidate(candidates, target, row) for row in rows]

    def control(
        self,
        name: str,
        number: int,
        target: Target,
        seed: int,
        progress: Progress | None = None,
    ) -> list[Candidate]:
        """Returns the networks within the budget that a control proposes, the best first.

        Args:
          name: of the control.
          number: of the search that it stands beside.
          target: the budget.
          seed: of the search.
          progress: reports what is done.

        Raises:
          UserError: for an unknown control, or when nothing meets the budget.
        """
        choose(name, CONTROLS, "control")
        candidates = within_budget(
            self._space, self._model, target, self._budget, prior=self._found.prior, seed=seed
        )
        if name == NO_SEARCH:
            rule, note = rule_without_search(self._rule)
            rule = rule.with_more_passes(passes_of_search(self._config, self._space))
            if note and progress and number == 0:  # once for all searches of a sweep
                progress(0, 0, note)
            searched = self._searched(number, seed)
            rows = without_search(rule, candidates, searched, progress or quiet, seed=seed)
        elif name == MOST_MACS:
            rows = by_macs(candidates)
        else:
            rows = by_chance(candidates, seed=seed)
        unknown = np.full(len(candidates.networks), np.nan)
        candidates = candidates._replace(log_probability=unknown)
        return [as_candidate(candidates, target, row) for row in rows]

    def judged(self, number: int, architecture: np.ndarray, seed: int) -> float:
        """Returns the task's primary metric of an architecture, by a search's supernet.

        Args:
          number: of the search.
          architecture: `int32[D]`.
          seed: of the search.
        """
        known = self._searched(number, seed)
        assert known.weights is not None  # only a control has none
        return float(known.judge(known.weights, architecture[None])[known.metric][0])

    def _ordered(
        self, candidates: Candidates, number: int, seed: int, progress: Progress | None
    ) -> np.ndarray:
        """Returns the rows of candidates in the order of the config's rule."""
        rule, searched = self._rule, self._searched(number, seed)
        rows = rule.order(candidates, searched, progress or quiet, seed=seed)
        return check_order(rule, rows, len(candidates.networks))

    def _told(self, number: int, target: Target) -> Candidates:
        """Returns the networks within the budget that a strategy was told about."""
        found = self._found
        assert found.networks is not None and found.scores is not None
        networks = self._space.canonical(found.networks[number])
        scores = found.scores[number].astype(np.float64)
        predicted, bounds = bounded_costs(self._space, self._model, target, networks)
        assert found.excess is not None
        known = np.isfinite(found.excess[number])
        fits = keeping(self._budget, bounds, target.limits, among=known)
        if not fits.any():
            raise UserError(
                f"none of the {len(networks)} architectures that search.strategy = "
                f"{self._config.search.strategy.name!r} asked for meets the budget; raise the "
                "target, or search.rounds"
            )
        rows = np.flatnonzero(fits)
        if found.fidelity is not None:  # scores of different fidelities do not compare
            levels = found.fidelity[number][rows]
            rows = rows[levels == levels.min()]
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        rows = rows[np.sort(np.unique(networks[rows], axis=0, return_index=True)[1])]
        unknown = np.full(len(rows), np.nan)
        return Candidates(
            networks[rows], unknown, unknown,
            {"predicted": predicted[rows], **{m: cost[rows] for m, cost in bounds.items()}},
            counts_of(self._space, networks[rows]), scores[rows],
        )  # fmt: skip

    @property
    def _rule(self) -> Derivation:
        return DERIVATIONS.make(self._config.derive.rule)

    @functools.cached_property
    def _judge(self) -> Judge:
        task = make_task(self._config.task, self._dataset)
        return Judge(
            self._space, make_supernet(self._space), task, self._config,
            augmentation=augmentation(self._dataset, self._config.data),
        )  # fmt: skip

    def _searched(self, number: int, seed: int) -> Searched:
        found = self._found
        return self._judge.searched(
            examples_of(self._dataset, self._config, seed=seed),
            probabilities=None if found.probabilities is None else found.probabilities[number],
            prior=found.prior, weights=None if found.weights is None else found.weights[number],
            seed=seed,
        )  # fmt: skip
