"""How much wider or narrower the intervals of a posterior must be.

Legend: `n` samples.
"""

import chex
import numpy as np
import scipy

_SHARE, _PRIOR_COUNT = 0.9, 4
_NORMAL = float(scipy.stats.norm.ppf((1 + _SHARE) / 2))


def widening(ratios: np.ndarray) -> float:
    """Returns the factor on standard deviations at which 90 % intervals hold 90 % of networks.

    From nine samples on it is a rank of the ratios, so it needs no distribution of errors: a new
    network is as likely as any sample to be the farthest off. Fewer samples cannot show their 90 %
    quantile. There the ratios are taken as normal with an unknown variance, which counts as seen
    four times at one.

    Args:
      ratios: `float64[n]`, the error of each sample, predicted from others, over its standard
        deviation.

    References: Barber et al., "Predictive Inference with the Jackknife+", 2021.
    """
    chex.assert_rank(ratios, 1)
    count = len(ratios)
    rank = _SHARE * (count + 1)
    if rank > count:
        freedom = count + _PRIOR_COUNT
        size = np.sqrt(((ratios**2).sum() + _PRIOR_COUNT) / freedom)
        quantile = size * scipy.stats.t.ppf((1 + _SHARE) / 2, freedom)
    else:
        quantile = np.interp(rank, np.arange(1, count + 1), np.sort(ratios))
    return float(quantile / _NORMAL)
