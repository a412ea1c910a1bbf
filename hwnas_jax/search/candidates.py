"""The networks that meet a budget, and which budgets there are.

Legend: `N` architectures, `D` decisions, `K` options of the widest decision.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from hwnas_jax.budgets.base import Budget
from hwnas_jax.budgets.target import Target
from hwnas_jax.config import TargetConfig
from hwnas_jax.cost.files.observations import unit
from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.base import CostModel, predict_architectures, std_architectures
from hwnas_jax.errors import UserError
from hwnas_jax.search.derivation.base import Candidates
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.mixture import last_options

ENUMERABLE = 200_000
SAMPLES = 65_536


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One architecture with what is known about it before training.

    Attributes:
      architecture: `int32[D]`.
      log_probability: natural logarithm of its probability under the search; NaN when it was not
        drawn from a search.
      predicted: the cost model's prediction, in the target's unit.
      bound: its upper confidence bound, which meets the budget; without a confidence the
        prediction itself.
      score: what a strategy was told about it; NaN for a gradient search.
    """

    architecture: np.ndarray
    log_probability: float
    predicted: float
    bound: float
    score: float = float("nan")


@dataclasses.dataclass(frozen=True)
class CostRange:
    """The predicted cost over the space.

    Attributes:
      metric: which metric.
      lowest: smallest value found.
      highest: largest value found.
      quantiles: value at each percentile 0, 1, ..., 100 of the architectures, `float64[101]`.
      bounds: smallest and largest upper confidence bound.
      confidence: of the bounds; None where they are the predictions.
    """

    metric: str
    lowest: float
    highest: float
    quantiles: np.ndarray
    bounds: tuple[float, float]
    confidence: float | None = None

    def at(self, percentile: float) -> float:
        """Returns the cost at a percentile in [0, 100]."""
        return float(np.interp(percentile, np.arange(101), self.quantiles))


def architectures_of(space: Space, *, seed: int, probabilities: np.ndarray | None = None):
    """Returns distinct architectures `int32[N, D]` to choose from.

    These are all architectures where the space is small enough to list them; otherwise draws,
    uniform ones, and with `probabilities` (`float32[D, K]`) also draws from these at several
    sharpenings, the most probable one among them.
    """
    if space.size <= ENUMERABLE:
        return space.enumerate()
    rng = np.random.default_rng(seed)
    if probabilities is None:
        return np.unique(space.random(rng, SAMPLES), axis=0)
    draws = [probabilities.argmax(-1)[None].astype(np.int32)]
    for power in (0.0, 0.5, 1.0, 2.0, 4.0):
        draws.append(draw(space, probabilities**power, SAMPLES // 5, rng))
    found = np.unique(np.concatenate(draws), axis=0)
    found = found[space.feasible(found)]
    return found if len(found) else np.unique(space.random(rng, SAMPLES), axis=0)


def draw(space: Space, weights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Returns architectures `int32[count, D]` whose decisions are drawn independently.

    In a constrained space some of them may be no members.

    Args:
      space: the search space.
      weights: `float32[D, K]`, in proportion to which the options are drawn.
      count: of draws.
      rng: draws.
    """
    share = np.where(space.mask, weights, 0.0)
    share = (share / share.sum(-1, keepdims=True)).cumsum(-1)
    uniform = 1.0 - rng.random((count, space.num_decisions, 1))
    drawn = (uniform > share[None]).sum(-1)
    return np.minimum(drawn, last_options(space.mask)).astype(np.int32)


def bounded_costs(
    space: Space, model: CostModel, target: Target, architectures: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns what architectures are predicted to cost, each by its canonical form.

    Architectures that build one network thus cost the same here, whether or not the model knows it.

    Args:
      space: the search space.
      model: predicts the costs.
      target: its metrics and confidence count.
      architectures: `int32[N, D]`.

    Returns:
      The prediction of the metric that has the budget, `float32[N]`, and `{metric: float32[N]}`
      of every metric with a limit, where the first is the upper confidence bound.
    """
    networks = space.canonical(architectures)
    predicted = predict_architectures(model, networks, space.num_options)
    bounds = {metric: predicted[metric] for metric in target.limits}
    if target.deviations:
        std = std_architectures(model, networks, space.num_options)[target.metric]
        bounds[target.metric] = bounds[target.metric] + np.float32(target.deviations) * std
    return predicted[target.metric], bounds


def likely_networks(
    space: Space, probabilities: np.ndarray, prior: np.ndarray, *, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns distinct networks in canonical form, and how probable a search makes each.

    These are all networks of a space small enough to list; otherwise those of `architectures_of`.

    Args:
      space: the search space.
      probabilities: `float32[D, K]`, of the search.
      prior: `float32[D, K]`, where the search began.
      seed: of the draws from large spaces.

    Returns:
      `int32[N, D]`, and twice `float64[N]`: the natural logarithm of the probability of all
      architectures that build the network, under the search and under the prior.
    """
    every = architectures_of(space, seed=seed, probabilities=probabilities)
    networks, group = np.unique(space.canonical(every), axis=0, return_inverse=True)
    rows = np.arange(space.num_decisions)[None]

    def summed(share):
        with np.errstate(divide="ignore"):
            each = np.log(np.asarray(share, np.float64))[rows, every].sum(-1)
        scores = np.full(len(networks), -np.inf)
        np.logaddexp.at(scores, group.reshape(-1), each)
        return scores

    return networks, summed(probabilities), summed(prior)


def cost_range(
    space: Space, model: CostModel, metric: str, *, seed: int = 0, confidence: float | None = None
) -> CostRange:
    """Predicts the cost over the space, or over a uniform sample of a large one.

    Args:
      space: the search space.
      model: predicts the cost.
      metric: which of its metrics.
      seed: of the sample.
      confidence: of the bounds.

    Raises:
      UserError: for a confidence where the model does not know its own uncertainty.
    """
    target = Target(metric, 0.0, confidence)
    costs, every = bounded_costs(space, model, target, architectures_of(space, seed=seed))
    bounds = every[metric]
    if target.deviations and np.array_equal(costs, bounds):
        raise UserError(
            f"target.confidence = {confidence} needs a cost model that knows its uncertainty; "
            f"{model.name!r} does not: choose another, or leave the confidence out"
        )
    quantiles = np.percentile(costs.astype(np.float64), np.arange(101))
    return CostRange(
        metric, float(costs.min()), float(costs.max()), quantiles,
        (float(bounds.min()), float(bounds.max())), confidence,
    )  # fmt: skip


def resolve_target(config: TargetConfig, reachable: CostRange) -> Target:
    """Returns the budget the config asks for.

    Raises:
      UserError: when the budget lies outside the reachable range; says the range.
    """
    value = reachable.at(config.percentile) if config.value is None else config.value
    (lowest, highest), name = reachable.bounds, unit(reachable.metric)
    if not lowest <= value <= highest:
        sure = ""
        if reachable.confidence is not None:
            sure = f" with a confidence of {reachable.confidence:g}"
        raise UserError(
            f"target {value:.4g} {name} is out of reach: networks of this space are predicted to "
            f"take {lowest:.4g} to {highest:.4g} {name}{sure} on this device "
            f"(median {reachable.at(50):.4g} {name})"
        )
    others = tuple(sorted(config.limits.items()))
    return Target(config.metric, float(value), reachable.confidence, others)


def within_budget(
    space: Space,
    model: CostModel,
    target: Target,
    budget: Budget,
    *,
    probabilities: np.ndarray | None = None,
    prior: np.ndarray | None = None,
    seed: int = 0,
) -> Candidates:
    """Returns the networks that are predicted to meet the budget.

    Each is in its canonical form, once, with the probability of all architectures that build it.
    With a confidence it is the upper confidence bound of the prediction that must meet the budget.

    Args:
      space: the search space.
      model: predicts the costs.
      target: the limits.
      budget: says what it means to meet them, as `keeping` asks it: sparse spaces give what comes
        closest.
      probabilities: `float32[D, K]`, of a search; uniform when left out.
      prior: `float32[D, K]`, where the search began; uniform when left out.
      seed: for drawing from spaces too large to list.

    Raises:
      UserError: when nothing meets the budget.
    """
    uniform = space.mask / space.mask.sum(-1, keepdims=True)
    networks, log_probability, log_prior = likely_networks(
        space,
        uniform if probabilities is None else probabilities,
        uniform if prior is None else prior,
        seed=seed,
    )
    predicted, bounds = bounded_costs(space, model, target, networks)
    _refuse_unreachable(target, bounds)
    fits = keeping(budget, bounds, target.limits)
    if not fits.any():
        raise UserError(
            f"the budget {budget.name} says of no network that it meets the limits, though some "
            "lie within all of them"
        )
    return Candidates(
        networks[fits],
        log_probability[fits],
        log_prior[fits],
        {"predicted": predicted[fits], **{metric: cost[fits] for metric, cost in bounds.items()}},
        counts_of(space, networks[fits]),
    )


def keeping(
    budget: Budget,
    bounds: Mapping[str, np.ndarray],
    limits: Mapping[str, float],
    among: np.ndarray | None = None,
) -> np.ndarray:
    """Returns which networks keep a budget, `bool[N]`.

    Where both sides count, the share of the budget that may stay unused is doubled until some
    network keeps it.

    Args:
      budget: says what it means to keep it.
      bounds: `{metric: float32[N]}`.
      limits: by metric, the budget first.
      among: `bool[N]`, those that are asked for; all when left out.
    """
    widened = 1.0
    while True:
        fits = budget.meets(bounds, limits, widened=widened)
        fits = fits if among is None else fits & among
        if fits.any() or widened * budget.tolerance > 1:
            return fits
        widened *= 2


def counts_of(space: Space, networks: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the multiply-accumulates and parameters of networks `int32[N, D]`, `float32[N]`."""
    counted = predict_architectures(AnalyticModel.count(space), networks, space.num_options)
    return {metric: counted[metric] for metric in ("macs", "params")}


def check_reachable(space: Space, model: CostModel, target: Target, *, seed: int = 0) -> None:
    """Raises UserError when no architecture is predicted to lie within all limits at once."""
    _refuse_unreachable(
        target, bounded_costs(space, model, target, architectures_of(space, seed=seed))[1]
    )


def _refuse_unreachable(target: Target, bounds: dict[str, np.ndarray]) -> None:
    within = np.ones(len(bounds[target.metric]), bool)
    for metric, limit in target.limits.items():
        within &= bounds[metric] <= limit
    if within.any():
        return
    sure = "" if target.confidence is None else f" with a confidence of {target.confidence:g}"
    limits = " and ".join(f"{limit:.4g} {unit(m)}" for m, limit in target.limits.items())
    least = " and ".join(f"{cost.min():.4g} {unit(m)}" for m, cost in bounds.items())
    raise UserError(
        f"no architecture is predicted to meet {limits}{sure}; the least that any takes is {least}"
    )


def as_candidate(candidates: Candidates, target: Target, row: int) -> Candidate:
    """Returns one of the candidates by itself."""
    scores = candidates.scores
    return Candidate(
        candidates.networks[row],
        float(candidates.log_probability[row]),
        float(candidates.predicted["predicted"][row]),
        float(candidates.predicted[target.metric][row]),
        float("nan") if scores is None else float(scores[row]),
    )
