"""Which networks of a space to measure, before anything is known of the device.

Legend: `N` networks, `n` candidates, `D` decisions, `K` options of the widest decision.
"""

import numpy as np

from hwnas_jax.cost.files.unit_checks import disconnected
from hwnas_jax.cost.models.gaussian_regression import expected_logs
from hwnas_jax.cost.models.interaction_kernel import make_kernel
from hwnas_jax.cost.models.multilinear import is_enumerable
from hwnas_jax.spaces.base import Choices

LEAST, MOST = 24, 64
"""Networks that tell enough of a space with few options, and of one with many."""

_CANDIDATES = 1000
_DRAWS = 20
# Relative standard deviation of a median: two networks this alike tell no more than one.
_NOISE = 0.02


def usual_count(space: Choices) -> int:
    """Returns how many networks a profile takes: one for every option that is free to choose."""
    free = int((space.mask.sum(axis=1) - 1).sum())
    return int(np.clip(free, LEAST, MOST))


def choose_networks(
    space: Choices, count: int, held_out: int, rng: np.random.Generator
) -> np.ndarray:
    """Chooses networks to measure: telling ones to fit to, then random ones to judge on.

    The first are chosen one after another. Each is the candidate whose measurement is expected to
    leave the least variance over the space, by the prior of the Gaussian process. As long as some
    option was in no network yet, only candidates that have a new option are considered. A network
    without a path from input to output comes first, since no other tells what it costs. The random
    ones are uniform draws. No two build the same network.

    Args:
      space: the search space.
      count: how many are fitted to.
      held_out: how many are judged on.
      rng: source of randomness.

    Returns:
      `int32[N, D]`, first `count` to fit to, then those to judge on. There are fewer, and at last
      none to judge on, where the space has too few networks.

    References: Seo et al., "Gaussian Process Regression: Active Data Selection and Test Point
    Rejection", 2000; Cohn, "Neural Network Exploration Using Optimal Experiment Design", 1996.
    """
    small = space.size <= _CANDIDATES
    candidates = rng.permutation(space.enumerate()) if small else _draw(space, rng)
    candidates = _distinct(space, candidates)
    chosen = candidates[_most_telling(space, candidates, min(count, len(candidates)))]
    drawn = candidates if small else space.random(rng, _DRAWS * (count + held_out))
    return _distinct(space, np.concatenate([chosen, drawn]))[: len(chosen) + held_out]


def _most_telling(space: Choices, candidates: np.ndarray, count: int) -> np.ndarray:
    """Returns the rows `int[count]` of the candidates (`int32[n, D]`) to measure."""
    kernel = make_kernel(space, None, tabulated=is_enumerable(space))
    covariance = kernel.weighted(np.exp(expected_logs(kernel.names)), candidates, candidates)
    has = np.eye(space.num_options, dtype=bool)[candidates].reshape(len(candidates), -1)
    new = has.any(axis=0)
    free, cut = np.ones(len(candidates), bool), disconnected(space, candidates)
    chosen: list[int] = []
    for number in range(count):
        own = np.diag(covariance) + _NOISE**2
        explained = (covariance**2).sum(axis=0) / own
        allowed = free & (has & new).any(axis=1)
        if not number and cut.any():
            allowed = cut
        best = int(np.argmax(np.where(allowed if allowed.any() else free, explained, -np.inf)))
        chosen.append(best)
        free[best], new = False, new & ~has[best]
        covariance = covariance - np.outer(covariance[best], covariance[best]) / own[best]
    return np.array(chosen)


def _draw(space: Choices, rng: np.random.Generator) -> np.ndarray:
    """Draws candidates, half of which lean to one option of all decisions, each by its own amount.

    Uniform draws are mostly average; the leaning ones reach the extremes of a large space.
    """
    uniform = space.random(rng, _CANDIDATES)
    allowed = [np.flatnonzero(row) for row in space.mask]
    towards = rng.integers(space.num_options, size=_CANDIDATES)
    lean = np.stack([options[towards % len(options)] for options in allowed], axis=1)
    follow = rng.random(uniform.shape) < rng.random((_CANDIDATES, 1))
    leaning = np.where(follow, lean, uniform).astype(np.int32)
    keep = space.feasible(leaning) & (np.arange(_CANDIDATES) % 2 == 0)
    return np.where(keep[:, None], leaning, uniform)


def _distinct(space: Choices, architectures: np.ndarray) -> np.ndarray:
    """Returns the first of all architectures (`int32[N, D]`) that build the same network."""
    first = np.unique(space.canonical(architectures), axis=0, return_index=True)[1]
    return architectures[np.sort(first)]
