"""One proxy device for many: whether networks found for one device are right for another.

Where a new device orders networks as the proxy does, the front found for the proxy is that of the
new device as well, and nothing need be searched again. A few networks measured on the new device
say how sure that is. Where the orders differ, the proxy's costs are one source of the cost model
`transfer`, which the samples adapt to the new device.

Legend: `N` networks, `n` samples, `D` decisions.

References: Lu et al., "One Proxy Device Is Enough for Hardware-Aware Neural Architecture Search",
2021.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
import scipy

from hwnas_jax.cost.files.observations import CostTable, Observations
from hwnas_jax.cost.judge.metrics import spearman
from hwnas_jax.cost.models.prior import TransferConfig, learn_prior
from hwnas_jax.cost.models.transfer import TransferModel
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices

LEAST = 5
"""Samples that an interval needs: its width goes with one over the root of their number less 3."""
THRESHOLD = 0.9
LEVEL = 0.9

Verdict = Literal["safe", "unsafe", "unsure"]
PROXY = "proxy"


class Agreement(NamedTuple):
    """How well two devices agree on the order of networks.

    Attributes:
      rho: Spearman's rank correlation on the samples.
      low: lower end of its interval.
      high: upper end.
      level: the probability of the interval.
      samples: `n`.
    """

    rho: float
    low: float
    high: float
    level: float
    samples: int

    def verdict(self, threshold: float = THRESHOLD) -> Verdict:
        """Returns "safe" where the whole interval lies at or above a threshold, "unsafe" below."""
        if self.low >= threshold:
            return "safe"
        return "unsafe" if self.high < threshold else "unsure"


def rank_agreement(proxy: np.ndarray, target: np.ndarray, level: float = LEVEL) -> Agreement:
    """Returns Spearman's rank correlation of the same networks on two devices, with an interval.

    The interval is that of Fisher's z with the standard error of Bonett and Wright for ranks,
    sqrt((1 + rho^2 / 2) / (n - 3)). Samples in perfect order do not prove a correlation of one:
    for the interval they count as half of the least disorder, which exchanges two neighbours.

    Args:
      proxy: `float[n]`, costs on the proxy.
      target: `float[n]`, costs on the new device.
      level: the probability of the interval, in (0, 1).

    Raises:
      UserError: for fewer than five samples, or costs that are all the same on one device.

    References: Bonett and Wright, "Sample size requirements for estimating Pearson, Kendall and
    Spearman correlations", Psychometrika 2000.
    """
    if not 0 < level < 1:
        raise UserError(f"level must lie between 0 and 1, got {level:g}")
    count = len(proxy)
    if count < LEAST:
        raise UserError(f"an interval of a rank correlation needs {LEAST} samples, got {count}")
    rho = spearman(target, proxy)
    if math.isnan(rho):
        raise UserError(
            "the samples cost the same on one of the devices, so that they have no order there; "
            "measure networks of different size"
        )
    most = 1 - 6 / (count**3 - count)
    z = math.atanh(min(max(rho, -most), most))
    reach = scipy.stats.norm.ppf((1 + level) / 2) * math.sqrt((1 + rho**2 / 2) / (count - 3))
    return Agreement(rho, math.tanh(z - reach), math.tanh(z + reach), level, count)


def adapted_model(
    space: Choices,
    architectures: np.ndarray,
    proxy: np.ndarray,
    samples: Observations,
    config: TransferConfig | None = None,
    *,
    metric: str,
    seed: int = 0,
) -> TransferModel:
    """Returns the cost model `transfer` of the new device, whose one source is the proxy.

    Args:
      space: of the networks.
      architectures: `int32[N, D]`, whose costs on the proxy are known.
      proxy: `float[N]`, these costs.
      samples: measurements on the new device.
      config: settings of the transfer.
      metric: the cost.
      seed: of all draws.

    Raises:
      UserError: for samples without the metric, fewer than three, or more than a transfer takes.
    """
    if metric not in samples.values:
        raise UserError(f"the samples have {', '.join(samples.metrics)}, not {metric}")
    TransferModel.check_count(len(samples))
    values = {metric: np.asarray(proxy, float)[None]}
    table = CostTable(f"the {PROXY}", space, np.asarray(architectures), (PROXY,), values)
    prior = learn_prior(table, (PROXY,), config, metric=metric, seed=seed)
    return TransferModel.of([prior], samples)


def kept_order(verdict: Verdict, proxy: np.ndarray, adapted: np.ndarray) -> np.ndarray:
    """Returns row numbers `int[N]` of networks, the cheapest on the new device first.

    Args:
      verdict: where reuse is safe, the order is that of the proxy.
      proxy: `float[N]`, costs on the proxy.
      adapted: `float[N]`, costs that the adapted model predicts.
    """
    return np.argsort(proxy if verdict == "safe" else adapted, kind="stable")
