"""What is known of a device after samples: all hypotheses about it, averaged by their weights.

Legend: `H` hypotheses, `W` views, `F` features of a network in a view, `G` the features of all
views together, `V` source devices, `n` samples.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy

from hwnas_jax.cost.models.hypotheses import Explained, Hypotheses, Samples, explain
from hwnas_jax.cost.models.views import View

_KEPT = 0.999
# The 90 % quantile of Student's t with four degrees of freedom, over that of the normal
# distribution: an interval need not cover the far tail of the noise.
_NOISE_WIDTH = (2.132 / 1.645) ** 2


@dataclasses.dataclass(frozen=True)
class Posterior:
    """A normal distribution over the coefficients of a cost that is linear in its features.

    Attributes:
      mean: `float64[G + 1]`; the first is the constant.
      covariance: `float64[G + 1, G + 1]`.
      noise: variance of a measurement about the cost.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise: float

    def widened(self, factor: float) -> "Posterior":
        """Returns the distribution with all standard deviations times `factor`."""
        return dataclasses.replace(
            self, covariance=factor**2 * self.covariance, noise=factor**2 * self.noise
        )


@dataclasses.dataclass(frozen=True)
class Seen:
    """The samples in one view.

    Attributes:
      view: the view.
      features: `float64[n, F]`.
      samples: the samples as the hypotheses see them.
    """

    view: View
    features: np.ndarray
    samples: Samples


def weights_of(seen: Sequence[Seen], explained: Sequence[Explained]) -> np.ndarray:
    """Returns the probabilities of a view and a hypothesis together, `float64[W, H]`."""
    total = np.array(
        [found.log_weight + one.view.log_prior for found, one in zip(explained, seen, strict=True)]
    )
    return np.exp(total - scipy.special.logsumexp(total))


def average(
    hypotheses: Hypotheses, seen: Sequence[Seen], explained: Sequence[Explained]
) -> Posterior:
    """Returns the mean and covariance of all hypotheses' posteriors together.

    Args:
      hypotheses: `H` of them.
      seen: the samples in each view.
      explained: how they are explained in each view.

    References: Hoeting et al., "Bayesian Model Averaging: A Tutorial", 1999.
    """
    weights = weights_of(seen, explained)
    order = np.argsort(weights, axis=None)[::-1]
    total = np.cumsum(weights.reshape(-1)[order])
    kept = order[: 1 + int(np.searchsorted(total, _KEPT * total[-1]))]
    shares = weights.reshape(-1)[kept] / weights.reshape(-1)[kept].sum()
    ends = np.cumsum([one.view.width for one in seen])
    size = 1 + ends[-1]
    tails = _tails(len(seen[0].samples.costs))
    means, within, noise = [], np.zeros((size, size)), 0.0
    for place, share in zip(kept, shares, strict=True):
        number, row = divmod(int(place), weights.shape[1])
        one, found = seen[number], explained[number]
        mean, apart = _member(hypotheses, one, found, row)
        index = np.r_[0, np.arange(1 + ends[number] - one.view.width, 1 + ends[number])]
        whole = np.zeros(size)
        whole[index] = mean
        means.append(whole)
        variance = found.variance[row] * tails
        within[np.ix_(index, index)] += share * variance * apart
        noise += share * variance * hypotheses.noise[row] * _NOISE_WIDTH
    stacked = np.stack(means)
    mean = shares @ stacked
    between = (stacked - mean) * np.sqrt(shares)[:, None]
    return Posterior(mean, within + between.T @ between, float(noise))


def _member(hypotheses, one, found, row):
    """Returns the mean of one hypothesis' coefficients and their covariance over the unit."""
    anchors, level = hypotheses.anchors[row], found.level[row]
    prior = one.view.covariance(
        hypotheses.level[row], hypotheses.shares[row, :-1],
        hypotheses.shares[row, -1] * anchors, mixed=bool(hypotheses.mixes[row]),
    )  # fmt: skip
    extended = np.c_[np.ones(len(one.features)), one.features]
    gain = extended @ prior
    mean = gain.T @ found.residual[row]
    mean[0] += level
    mean[-len(anchors) :] += level * anchors
    noise = hypotheses.noise[row] / found.trust[row]
    # Joseph's form stays positive where little noise leaves little variance.
    pull = np.linalg.solve(extended @ gain.T + np.diag(noise), gain).T
    rest = np.eye(len(prior)) - pull @ extended
    return mean, rest @ prior @ rest.T + (pull * noise) @ pull.T


def _tails(count):
    """Returns the variance of Student's t over its scale, for a unit learned from samples."""
    return max(1.0, (count - 1) / max(count - 3, 1))


def predict_left_out(
    hypotheses: Hypotheses,
    seen: Sequence[Seen],
    explained: Sequence[Explained],
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Predicts samples from all others.

    Args:
      hypotheses: `H` of them.
      seen: the samples in each view.
      explained: how all samples are explained in each view.
      rows: `int[m]`, which samples are left out together.

    Returns:
      The mean cost of each, `float64[m]`, and the standard deviation of a measurement.
    """
    count = len(seen[0].samples.costs)
    others = np.delete(np.arange(count), rows)
    fewer = [dataclasses.replace(one, samples=one.samples.without(rows)) for one in seen]
    again = [
        explain(hypotheses, one.samples, np.delete(found.trust, rows, axis=1))
        for one, found in zip(fewer, explained, strict=True)
    ]
    weights = weights_of(fewer, again)
    likely = weights > (1 - _KEPT) / weights.size
    tails, means, variances = _tails(len(others)), [], []
    for one, found, some in zip(seen, again, likely, strict=True):
        prior = one.samples.covariance[some]
        across = prior[:, rows][:, :, others]
        noise = hypotheses.noise[some]
        inside = prior[:, others][:, :, others]
        inside = inside + (noise[:, None] / found.trust[some])[:, :, None] * np.eye(len(others))
        mean = found.level[some][:, None] * one.samples.expected[some][:, rows]
        means.append(mean + np.einsum("hmj,hj->hm", across, found.residual[some]))
        pull = np.linalg.solve(inside, np.swapaxes(across, 1, 2))
        own = np.diagonal(prior[:, rows][:, :, rows], axis1=1, axis2=2)
        left = np.maximum(own - np.einsum("hmj,hjm->hm", across, pull), 0.0)
        unit = tails * found.variance[some]
        variances.append(unit[:, None] * (left + _NOISE_WIDTH * noise[:, None]))
    shares = np.concatenate([share[some] for share, some in zip(weights, likely, strict=True)])
    shares /= shares.sum()
    each = np.concatenate(means)
    mean = shares @ each
    return mean, np.sqrt(shares @ (np.concatenate(variances) + (each - mean) ** 2))
