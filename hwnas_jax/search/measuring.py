"""Which networks a search with few measurements measures, and which network it answers with.

Legend: `E` networks whose score is known.

Both look at the score and at the chance to keep the limit together. NumPy on the host.

References: Gardner et al., "Bayesian Optimization with Inequality Constraints", ICML 2014 (the
improvement that is expected times the chance to keep the limit).
"""

import numpy as np


def answer(score: np.ndarray, chance: np.ndarray, confidence: float) -> int:
    """Returns which network to answer with.

    It is the one with the highest score among those that keep the limit with the wanted confidence,
    and where none does, the one with the greatest chance. Of equals it is the first.

    Args:
      score: `float[E]`, higher is better.
      chance: `float[E]`, the probability of each to keep the limit.
      confidence: what the answer should have of it.

    >>> answer(np.array([0.7, 0.9, 0.8]), np.array([1.0, 0.5, 0.97]), 0.95)
    2
    >>> answer(np.array([0.7, 0.9, 0.8]), np.array([0.1, 0.5, 0.5]), 0.95)
    1
    """
    sure = chance >= confidence
    if sure.any():
        return int(np.argmax(np.where(sure, score, -np.inf)))
    return int(np.argmax(np.where(chance == chance.max(), score, -np.inf)))


def worth_measuring(score: np.ndarray, chance: np.ndarray, confidence: float) -> np.ndarray:
    """Returns what measuring each network is expected to add to the score of the answer.

    A network that is already sure to keep the limit, or sure not to, adds nothing, and neither does
    one whose score is below that of the answer. Where no network is sure, scores count from the
    lowest one.

    Args:
      score: `float[E]`, higher is better.
      chance: `float[E]`, the probability of each to keep the limit.
      confidence: from which on a network may be the answer without being measured.

    Returns:
      `float[E]`, not below zero.

    >>> worth_measuring(np.array([0.5, 0.9, 0.7]), np.array([1.0, 0.25, 0.5]), 0.95).round(2)
    array([0. , 0.1, 0.1])
    """
    sure = chance >= confidence
    # Below the lowest by a little, so that the lowest is worth a measurement too.
    floor = score.min() - max(np.ptp(score), 1e-3)
    best = score[sure].max() if sure.any() else floor
    return np.where(sure, 0.0, chance * np.maximum(score - best, 0.0))
