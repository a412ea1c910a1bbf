"""How wide an interval must be to hold the share of networks that it promises.

Legend: `N` networks, `M` members, `Q` metrics.
"""

import chex
import numpy as np

_SHARE, _DEVIATIONS = 0.9, 1.6449
_ONE_SIGMA = 68.27


def out_of_bag(
    members: np.ndarray, values: np.ndarray, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compares each network with the members that were not fitted to it.

    Args:
      members: `float[M, N, Q]`, predictions.
      values: `float[N, Q]`, what was observed.
      draws: `int[M, N]`, how often each network is in each member's sample.

    Returns:
      `error` and `spread` (`float[n, Q]`), both relative to the prediction, of the networks that
      some member was not fitted to, or of all networks where there is none. A mean of the few
      members that did not see a network errs more than the mean of all `M`. The error is scaled
      down accordingly, by a factor that follows from the members' spread.
    """
    chex.assert_rank([members, values, draws], [3, 2, 2])
    unseen = draws == 0
    if not unseen.any():
        unseen = np.ones_like(unseen)
    rows = unseen.any(axis=0)
    share = unseen[:, rows, None] / unseen[:, rows, None].sum(axis=0)
    mean = (share * members[:, rows]).sum(axis=0)
    spread = members[:, rows].std(axis=0) / mean
    error = np.abs(values[rows] - mean) / mean
    # The members' own part of the variance is the sum of squared shares, at best 1 / M.
    own = (share**2).sum(axis=0)
    # A percentile, as for the error: relative spreads are huge where networks cost next to nothing.
    surplus = np.percentile((own - 1 / len(members)) * spread**2, _ONE_SIGMA, axis=0)
    total = np.maximum(np.percentile(error, _ONE_SIGMA, axis=0) ** 2, 1e-30)
    least = 1 / (len(members) * own.mean(axis=0))
    return error * np.sqrt(np.maximum(1 - surplus / total, least)), spread


def calibrate(error: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns `noise` and `scale` (`float[Q]`) with which 90 % of the errors lie within 1.645 s.d.

    One standard deviation is `sqrt((scale * spread)^2 + noise^2)`. Where the spread is too narrow,
    noise is added; where it is too wide, it is scaled down.

    Args:
      error: `float[n, Q]`, not negative.
      spread: `float[n, Q]`, of the members.

    References: Papadopoulos et al., "Inductive Confidence Machines for Regression", 2002
    (intervals from a quantile of errors on networks that were not fitted to).
    """
    chex.assert_equal_shape([error, spread])
    noise, scale = np.zeros(error.shape[1]), np.ones(error.shape[1])
    for q, (errors, spreads) in enumerate(zip(error.T, spread.T, strict=True)):
        if _needed(errors, spreads) <= 1:
            scale[q] = max(_needed(errors, spreads), 1e-3)
            continue
        low, high = 0.0, errors.max()
        for _ in range(60):
            middle = 0.5 * (low + high)
            wide = _needed(errors, np.hypot(spreads, middle)) <= 1
            low, high = (low, middle) if wide else (middle, high)
        noise[q] = high
    return noise, scale


def _needed(errors, deviations):
    """Returns the factor on the deviations that makes the intervals hold their share."""
    # The finite-sample rank of conformal prediction, at most the largest error.
    rank = min(1.0, np.ceil(_SHARE * (len(errors) + 1)) / len(errors))
    ratios = errors / np.maximum(deviations, 1e-12)
    return np.quantile(ratios, rank, method="inverted_cdf") / _DEVIATIONS
