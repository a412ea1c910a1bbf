"""How much wider or narrower the intervals of a posterior must be.

Legend: `n` samples.
"""

import chex
import numpy as np
import scipy

LEAST_RATIOS = 9
"""Fewer samples cannot show their 90 % quantile."""

_SHARE = 0.9
_NORMAL = float(scipy.special.ndtri((1 + _SHARE) / 2))


def widening(ratios: np.ndarray) -> float:
    """Returns the factor on standard deviations at which 90 % intervals hold 90 % of networks.

    It is a rank of the ratios, so it needs no distribution of errors: a new network is as likely
    as any sample to be the farthest off.

    Args:
      ratios: `float64[n]`, the error of each sample, predicted from others, over its standard
        deviation; at least `LEAST_RATIOS` of them.

    References: Barber et al., "Predictive Inference with the Jackknife+", 2021.
    """
    chex.assert_rank(ratios, 1)
    count = len(ratios)
    chex.assert_scalar_non_negative(count - LEAST_RATIOS)
    rank = _SHARE * (count + 1)
    return float(np.interp(rank, np.arange(1, count + 1), np.sort(ratios)) / _NORMAL)
