"""What a search is compared with: networks of the same budget that need no search.

Legend: `N` candidates, `D` decisions, `K` options of the widest decision.

A control orders the same candidates as the search does, those that meet the budget. Its first
networks are then confirmed, trained and measured as those of the search are, with as many
trainings. A control that derives by trainings of its own may spend on them what the search spent on
its supernet.
"""

from typing import Any

import jax
import numpy as np

from hwnas_jax.config import Config
from hwnas_jax.errors import UserError, choose
from hwnas_jax.parallel.progress import Progress
from hwnas_jax.search.derivation import Candidates, Derivation, MostProbable, Searched, check_order
from hwnas_jax.search.methods import make_estimator, make_relaxation
from hwnas_jax.search.strategies import GRADIENT
from hwnas_jax.spaces.base import Space

RANDOM, NO_SEARCH, MOST_MACS = "random", "no_search", "most_macs"
CONTROLS = (RANDOM, NO_SEARCH, MOST_MACS)


def controls_of(config: Config, *, several: bool) -> tuple[str, ...]:
    """Returns the controls of a run.

    Args:
      config: `derive` and `search.strategy` are read.
      several: whether the run is a sweep.

    Raises:
      UserError: for a control that is not there, is named twice, or needs a gradient search.
    """
    by_gradient = config.search.strategy.name == GRADIENT
    names = config.derive.controls
    if names is None:
        if several:
            return ()
        return tuple(name for name in CONTROLS if by_gradient or name != NO_SEARCH)
    for name in names:
        choose(name, CONTROLS, "control of derive.controls")
        if names.count(name) > 1:
            raise UserError(f"derive.controls names {name!r} more than once")
        if name == NO_SEARCH and not by_gradient:
            raise UserError(
                f"derive.controls: {NO_SEARCH} derives from where the architecture's parameters "
                f"began, and search.strategy = {config.search.strategy.name!r} has none; allowed "
                f"are {RANDOM}, {MOST_MACS}"
            )
    return names


def by_chance(candidates: Candidates, *, seed: int) -> np.ndarray:
    """Returns all row numbers of the candidates, `int[N]`, in random order."""
    return np.random.default_rng(seed).permutation(len(candidates.networks))


def by_macs(candidates: Candidates) -> np.ndarray:
    """Returns all row numbers, `int[N]`: most multiply-accumulates first, then most parameters.

    The candidates of a space too large to list are draws, so that the first has the most among many
    thousand, and not of all.
    """
    return np.lexsort((-candidates.counts["params"], -candidates.counts["macs"]))


def rule_without_search(rule: Derivation) -> tuple[Derivation, str]:
    """Returns the rule by which a control derives without a search, and what is to be told of it.

    A rule that asks the supernet gives way to that of the most probable network. Where nothing
    distinguishes the candidates the order is by chance.
    """
    if not rule.needs_weights:
        return rule, ""
    return MostProbable(), (
        f"control {NO_SEARCH}: derive.rule = {rule.name!r} asks the weights of the search, so that "
        f"{MostProbable.name!r} takes its place"
    )


def passes_of_search(config: Config, space: Space) -> int:
    """Returns about how many passes of one path with one batch a gradient search took.

    Args:
      config: `search` is read.
      space: where all options of a decision run, a pass counts as often as its decisions have
        options on average.
    """
    search = config.search
    relaxation = make_relaxation(config, space)
    estimator = make_estimator(config, relaxation)
    options = float(space.mask.sum(axis=1).mean())
    weight_step = 1.0 if relaxation.draws_paths else options
    arch_step = 1.0 if estimator.draws_paths else weight_step
    weight_steps = 0 if search.weights.frozen else search.steps
    return round(weight_steps * weight_step + (search.steps - search.warmup_steps) * arch_step)


def without_search(
    rule: Derivation, candidates: Candidates, searched: Searched, progress: Progress, *, seed: int
) -> np.ndarray:
    """Returns row numbers in the order in which a rule puts candidates without a search.

    The probabilities are those that the search began with, and there are no weights. A rule that
    goes by the ratio of the two has nothing to go by: candidates that are equal to a rule come in
    the order of `by_chance` with the same seed, and so does then the whole list.

    Args:
      rule: of the derivation.
      candidates: the networks within the budget.
      searched: of the search; only what it began with is used, and how examples are judged.
      progress: reports what is done.
      seed: of the order of equals, and of what the rule draws.

    Raises:
      UserError: when the rule does not keep its contract.
    """
    shuffled = by_chance(candidates, seed=seed)
    began: dict[str, Any] = {
        "probabilities": searched.prior, "prior": searched.prior, "weights": None,
    }  # fmt: skip
    dealt: Candidates = jax.tree.map(lambda column: column[shuffled], candidates)
    dealt = dealt._replace(log_probability=dealt.log_prior)
    rows = rule.order(dealt, searched._replace(**began), progress, seed=seed)
    return shuffled[check_order(rule, rows, len(shuffled))]
