"""How well predicted latencies agree with measured ones.

Relative errors leave out networks that cost next to nothing, as a cell without a path does: there
a relative error says nothing about a model.

Legend: `N` networks.
"""

import chex
import numpy as np
import scipy

_NEAR_ZERO = 0.02


def spearman(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Returns Spearman's rank correlation, ties sharing their mean rank.

    Args:
      measured: `float[N]`.
      predicted: `float[N]`.

    Returns:
      A value in [-1, 1]; NaN when either side is constant, where ranks say nothing.
    """
    measured, predicted = _pair(measured, predicted)
    if np.ptp(measured) == 0 or np.ptp(predicted) == 0:
        return float("nan")
    return float(scipy.stats.spearmanr(measured, predicted).statistic)


def mape(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the mean absolute percentage error, as a share of the measured `float[N]`.

    Networks for which `far_from_zero` is false are left out.
    """
    return float(_relative(measured, predicted).mean())


def share_within(measured: np.ndarray, predicted: np.ndarray, fraction: float) -> float:
    """Returns the share, in [0, 1], predicted within `fraction` of the measured `float[N]`.

    Networks for which `far_from_zero` is false are left out.
    """
    return float((_relative(measured, predicted) <= fraction).mean())


def far_from_zero(measured: np.ndarray) -> np.ndarray:
    """Returns which costs `float[N]` are at least 2 % of their median, `bool[N]`."""
    return np.asarray(measured) >= _NEAR_ZERO * np.median(measured)


def kendall(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Returns Kendall's rank correlation of `float[N]`, corrected for ties (tau-b).

    Returns:
      A value in [-1, 1]; NaN when either side is constant, where ranks say nothing.
    """
    measured, predicted = _pair(measured, predicted)
    if np.ptp(measured) == 0 or np.ptp(predicted) == 0:
        return float("nan")
    return float(scipy.stats.kendalltau(measured, predicted).statistic)


def coverage(measured: np.ndarray, predicted: np.ndarray, std: np.ndarray, level: float) -> float:
    """Returns the share, in [0, 1], of the measured inside the predicted intervals.

    Args:
      measured: `float[N]`.
      predicted: `float[N]`, the centres.
      std: `float[N]`, standard deviations of a normal distribution.
      level: the probability in (0, 1) of the intervals, which is also the share that is right.
    """
    measured, predicted = _pair(measured, predicted)
    std, _ = _pair(std, predicted)
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    reach = scipy.stats.norm.ppf((1 + level) / 2) * std
    return float((np.abs(measured - predicted) <= reach).mean())


def _pair(measured, predicted):
    measured, predicted = np.asarray(measured, float), np.asarray(predicted, float)
    chex.assert_rank([measured, predicted], 1)
    chex.assert_equal_shape([measured, predicted])
    return measured, predicted


def _relative(measured, predicted):
    measured, predicted = _pair(measured, predicted)
    shown = far_from_zero(measured)
    return np.abs(predicted[shown] - measured[shown]) / np.abs(measured[shown])
