"""From probabilities to architectures that meet the budget, and what budgets there are."""

import dataclasses

import jax
import numpy as np

from hwnas_jax.config import TargetConfig
from hwnas_jax.cost.base import CostModel, predict_architectures
from hwnas_jax.errors import UserError
from hwnas_jax.search.objective import Target
from hwnas_jax.spaces.base import Space

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
    """

    architecture: np.ndarray
    log_probability: float
    predicted: float


@dataclasses.dataclass(frozen=True)
class CostRange:
    """The predicted cost over the space.

    Attributes:
      metric: which metric.
      lowest: smallest value found.
      highest: largest value found.
      quantiles: value at each percentile 0, 1, ..., 100 of the architectures, `float64[101]`.
    """

    metric: str
    lowest: float
    highest: float
    quantiles: np.ndarray

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
        last = space.num_options - 1 - space.mask[:, ::-1].argmax(-1)
        draws.append(np.minimum(drawn, last).astype(np.int32))
    every = np.unique(np.concatenate(draws), axis=0)
    members = every[space.feasible(every)]
    return members if len(members) else np.unique(space.random(rng, SAMPLES // 4), axis=0)


def cost_range(space: Space, model: CostModel, metric: str, *, seed: int = 0) -> CostRange:
    """Predicts the cost over the space, or over a uniform sample of a large one."""
    architectures = architectures_of(space, seed=seed)
    costs = predict_architectures(model, architectures, space.num_options)[metric]
    quantiles = np.percentile(costs.astype(np.float64), np.arange(101))
    return CostRange(metric, float(costs.min()), float(costs.max()), quantiles)


def resolve_target(config: TargetConfig, reachable: CostRange) -> Target:
    """Returns the budget the config asks for.

    Raises:
      UserError: when the budget lies outside the reachable range; says the range.
    """
    value = reachable.at(config.percentile) if config.ms is None else config.ms
    if not reachable.lowest <= value <= reachable.highest:
        raise UserError(
            f"target {value:.4g} ms is out of reach: networks of this space are predicted to take "
            f"{reachable.lowest:.4g} to {reachable.highest:.4g} ms on this device "
            f"(median {reachable.at(50):.4g} ms)"
        )
    return Target(config.metric, float(value))


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

    Each in its canonical form, once, with the probability of all architectures that build it.

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
    log_share, share = None, None
    if logits is not None:
        masked = np.where(space.mask, np.asarray(logits, np.float64), -np.inf)
        log_share = np.asarray(jax.nn.log_softmax(masked, axis=-1))
        share = np.exp(log_share)
    every = architectures_of(space, seed=seed, probabilities=share)
    networks, group = np.unique(space.canonical(every), axis=0, return_inverse=True)
    costs = predict_architectures(model, networks, space.num_options)[target.metric]
    if not (costs <= target.value).any():
        raise UserError(
            f"no architecture is predicted to meet {target.value:.4g} ms; "
            f"the fastest takes {costs.min():.4g} ms"
        )
    fits = np.zeros(len(costs), bool)
    while not fits.any():
        fits = (costs <= target.value) & (costs >= target.value * (1.0 - tolerance))
        tolerance *= 2
    (rows,) = np.nonzero(fits)
    scores = np.full(len(networks), np.nan)
    if log_share is None:
        order = np.random.default_rng(seed).permutation(rows)
    else:
        scores[:] = -np.inf
        each = log_share[np.arange(space.num_decisions)[None], every].sum(-1)
        np.logaddexp.at(scores, group.reshape(-1), each)
        order = rows[np.argsort(-scores[rows], kind="stable")]
    return [Candidate(networks[i], float(scores[i]), float(costs[i])) for i in order]
