"""The networks that a search proposes: within the budget, the best first."""

import functools
from collections.abc import Callable

import numpy as np

from hwnas_jax.budgets import BUDGETS
from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.data import Dataset
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.gradient_search import examples_of
from hwnas_jax.search.candidates import Candidate, as_candidate, bounded_costs, within_budget
from hwnas_jax.search.derivation import DERIVATIONS, Candidates, Searched, check_order
from hwnas_jax.search.judge import Judge
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import make_task


class Proposals:
    """What the searches of a run propose.

    Args:
      space: the search space.
      dataset: the supernet judges on it where a rule asks for that.
      cost_model: predicts the costs.
      config: the experiment.
      found: what the searches left.

    Attributes:
      within: by number of a gradient search that was asked, the probability of all its networks
        that meet the budget.
    """

    def __init__(
        self, space: Space, dataset: Dataset, cost_model: CostModel, config: Config, found: Found
    ):
        self._space, self._dataset, self._model = space, dataset, cost_model
        self._config, self._found = config, found
        self._budget = BUDGETS.make(config.budget)
        self.within: dict[int, float] = {}

    @property
    def by_gradient(self) -> bool:
        """Whether the searches were gradient searches, which leave probabilities and weights."""
        return self._found.probabilities is not None

    def by_chance(self, target: Target, *, seed: int) -> list[Candidate]:
        """Returns the networks within the budget in random order."""
        every = within_budget(self._space, self._model, target, self._budget, seed=seed)
        order = np.random.default_rng(seed).permutation(len(every.networks))
        unknown = np.full(len(order), np.nan)
        every = every._replace(log_probability=unknown)
        return [as_candidate(every, target, row) for row in order]

    def of(
        self,
        number: int,
        target: Target,
        seed: int,
        progress: Progress | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> list[Candidate]:
        """Returns the networks within the budget that one search proposes, the best first.

        Args:
          number: of the search.
          target: the budget.
          seed: of the search.
          progress: reports what is done.
          say: is told how much of the search's probability lies within the budget.

        Raises:
          UserError: when nothing meets the budget, or the rule does not keep its contract.
        """
        if not self.by_gradient:
            return self._told(number, target)
        assert self._found.probabilities is not None and self._found.prior is not None
        probabilities, prior = self._found.probabilities[number], self._found.prior
        candidates = within_budget(
            self._space, self._model, target, self._budget,
            probabilities=probabilities, prior=prior, seed=seed,
        )  # fmt: skip
        rule = DERIVATIONS.make(self._config.derive.rule)
        rows = rule.order(candidates, self._searched(number, seed), progress or quiet, seed=seed)
        rows = check_order(rule, rows, len(candidates.networks))
        self.within[number] = float(np.exp(np.logaddexp.reduce(candidates.log_probability)))
        say(self._where_probability_lies(candidates, probabilities, target, number, rows[0]))
        return [as_candidate(candidates, target, row) for row in rows]

    def judged(self, number: int, architecture: np.ndarray, seed: int) -> float:
        """Returns the task's primary metric of an architecture, by a search's supernet.

        Args:
          number: of the search.
          architecture: `int32[D]`.
          seed: of the search.
        """
        known = self._searched(number, seed)
        return float(known.judge(known.weights, architecture[None])[known.metric][0])

    def _told(self, number: int, target: Target) -> list[Candidate]:
        """Returns the networks that a strategy was told about, in order of their scores."""
        found = self._found
        assert found.networks is not None and found.scores is not None
        networks = self._space.canonical(found.networks[number])
        scores = found.scores[number].astype(np.float64)
        predicted, bounds = bounded_costs(self._space, self._model, target, networks)
        assert found.excess is not None
        known = np.isfinite(found.excess[number])
        fits, widened = np.zeros(len(networks), bool), 1.0
        while not fits.any() and widened * self._budget.tolerance < 1:
            fits = known & self._budget.meets(bounds, target.limits, widened=widened)
            widened *= 2
        if not fits.any():
            raise UserError(
                f"none of the {len(networks)} architectures that search.strategy = "
                f"{self._config.search.strategy.name!r} asked for meets the budget; raise the "
                "target, or search.rounds"
            )
        rows = np.flatnonzero(fits)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        _, first = np.unique(networks[rows], axis=0, return_index=True)
        return [
            Candidate(
                networks[row], float("nan"), float(predicted[row]),
                float(bounds[target.metric][row]), float(scores[row]),
            )
            for row in rows[np.sort(first)]
        ]  # fmt: skip

    @functools.cached_property
    def _judge(self) -> Judge:
        task = make_task(self._config.task, self._dataset)
        return Judge(self._space, make_supernet(self._space), task, self._config)

    def _searched(self, number: int, seed: int) -> Searched:
        found = self._found
        assert found.probabilities is not None and found.prior is not None
        assert found.weights is not None
        return self._judge.searched(
            examples_of(self._dataset, self._config, seed=seed),
            probabilities=found.probabilities[number], prior=found.prior,
            weights=found.weights[number], seed=seed,
        )  # fmt: skip

    def _where_probability_lies(
        self, candidates: Candidates, probabilities: np.ndarray, target: Target, number: int,
        first: int,
    ) -> str:  # fmt: skip
        """Returns a line that tells how sure the search was of what is derived from it."""
        space, mask = self._space, self._space.mask
        likeliest = np.where(mask, probabilities, -1.0).argmax(-1)[None].astype(np.int32)
        bounds = bounded_costs(space, self._model, target, likeliest)[1]
        used = float(bounds[target.metric][0]) / target.value
        chance = float(np.prod(np.take_along_axis(probabilities, likeliest.T, axis=1)))
        derived = float(np.exp(candidates.log_probability[first]))
        return (
            f"the search's likeliest choices have probability {chance:.2g} and use {used:.2f} of "
            f"the budget; {len(candidates.networks)} networks that meet it have "
            f"{self.within[number]:.2g} together, the derived one {derived:.2g}"
        )
