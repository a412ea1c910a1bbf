"""From probabilities to architectures that meet the budget, and what budgets there are."""

import dataclasses

import jax
import numpy as np

from hwnas_jax.config import TargetConfig
from hwnas_jax.cost.files.observations import unit
from hwnas_jax.cost.models.base import CostModel, predict_architectures, std_architectures
from hwnas_jax.errors import UserError
from hwnas_jax.search.objective import Target
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.mixture import last_options

ENUMERABLE = 200_000
SAMPLES = 65_536


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One architecture with what is known of it before training.

    Attributes:
      architecture: `int32[D]`.
      log_probability: natural logarithm of its probability under the search's logits; NaN when
        it was not drawn from a search.
      predicted: the cost model's prediction, in the target's unit.
      bound: its upper confidence bound, which meets the budget; without a confidence the
        prediction itself.
    """

    architecture: np.ndarray
    log_probability: float
    predicted: float
    bound: float


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

    All of them where the space is small enough to enumerate; otherwise draws, uniform or from
    `probabilities` (`float32[D, K]`) at several sharpenings, the most probable among them.
    """
    if space.size <= ENUMERABLE:
        return space.enumerate()
    rng = np.random.default_rng(seed)
    if probabilities is None:
        return np.unique(space.random(rng, SAMPLES), axis=0)
    draws = [probabilities.argmax(-1)[None].astype(np.int32)]
    for power in (0.5, 1.0, 2.0, 4.0):
        sharp = np.where(space.mask, probabilities**power, 0.0)
        sharp = (sharp / sharp.sum(-1, keepdims=True)).cumsum(-1)
        uniform = 1.0 - rng.random((SAMPLES // 4, space.num_decisions, 1))
        drawn = (uniform > sharp[None]).sum(-1)
        draws.append(np.minimum(drawn, last_options(space.mask)).astype(np.int32))
    found = np.unique(np.concatenate(draws), axis=0)
    found = found[space.feasible(found)]
    return found if len(found) else np.unique(space.random(rng, SAMPLES), axis=0)


def bounded_costs(
    space: Space, model: CostModel, target: Target, architectures: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns predictions and upper confidence bounds, `float32[N]` each.

    Args:
      space: the search space.
      model: predicts the cost.
      target: its metric and confidence count.
      architectures: `int32[N, D]`.
    """
    costs = predict_architectures(model, architectures, space.num_options)[target.metric]
    if not target.deviations:
        return costs, costs
    std = std_architectures(model, architectures, space.num_options)[target.metric]
    return costs, costs + np.float32(target.deviations) * std


def likely_networks(
    space: Space, logits: np.ndarray | None, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns distinct networks in canonical form, and how probable a search makes each.

    All networks of a space small enough to enumerate; otherwise those of `architectures_of`.

    Args:
      space: the search space.
      logits: `float32[D, K]`, of the search; None without one.
      seed: of the draws from large spaces.

    Returns:
      `int32[N, D]`, and `float64[N]`: the natural logarithm of the probability of all
      architectures that build the network, NaN without logits.
    """
    log_share, share = None, None
    if logits is not None:
        masked = np.where(space.mask, np.asarray(logits, np.float64), -np.inf)
        log_share = np.asarray(jax.nn.log_softmax(masked, axis=-1))
        share = np.exp(log_share)
    every = architectures_of(space, seed=seed, probabilities=share)
    networks, group = np.unique(space.canonical(every), axis=0, return_inverse=True)
    if log_share is None:
        return networks, np.full(len(networks), np.nan)
    scores = np.full(len(networks), -np.inf)
    each = log_share[np.arange(space.num_decisions)[None], every].sum(-1)
    np.logaddexp.at(scores, group.reshape(-1), each)
    return networks, scores


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
    costs, bounds = bounded_costs(space, model, target, architectures_of(space, seed=seed))
    if target.deviations and np.array_equal(costs, bounds):
        raise UserError(
            f"target.confidence = {confidence} needs a cost model that knows its uncertainty; "
            f"cost.model = {model.name!r} does not: choose another, or leave the confidence out"
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
    value = reachable.at(config.percentile) if config.ms is None else config.ms
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
    return Target(config.metric, float(value), reachable.confidence)


def within_budget(
    space: Space,
    model: CostModel,
    target: Target,
    tolerance: float,
    *,
    logits: np.ndarray | None = None,
    seed: int = 0,
) -> list[Candidate]:
    """Returns the networks predicted to use between 1 - tolerance and all of the budget.

    With a confidence it is the upper confidence bound of the prediction that must do so. Each in
    its canonical form, once, with the probability of all architectures that build it.

    Args:
      space: the search space.
      model: predicts the cost.
      target: the budget.
      tolerance: share of the budget that may stay unused. It is doubled until something is
        found, so that sparse spaces give what comes closest.
      logits: `float32[D, K]`; the most probable architectures come first. Without logits the
        order is random.
      seed: for drawing from spaces too large to enumerate, and for the random order.

    Raises:
      UserError: when nothing meets the budget.
    """
    networks, scores = likely_networks(space, logits, seed=seed)
    costs, bounds = bounded_costs(space, model, target, networks)
    if not (bounds <= target.value).any():
        sure = "" if target.confidence is None else f" with a confidence of {target.confidence:g}"
        name = unit(target.metric)
        raise UserError(
            f"no architecture is predicted to meet {target.value:.4g} {name}{sure}; "
            f"the fastest takes {bounds.min():.4g} {name}"
        )
    fits = np.zeros(len(bounds), bool)
    while not fits.any():
        fits = (bounds <= target.value) & (bounds >= target.value * (1.0 - tolerance))
        tolerance *= 2
    (rows,) = np.nonzero(fits)
    if logits is None:
        order = np.random.default_rng(seed).permutation(rows)
    else:
        order = rows[np.argsort(-scores[rows], kind="stable")]
    return [
        Candidate(networks[i], float(scores[i]), float(costs[i]), float(bounds[i])) for i in order
    ]
