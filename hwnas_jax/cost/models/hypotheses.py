"""Bayesian linear models averaged by how well each explains a few samples.

Many hypotheses about a device are drawn. Each says which other devices it resembles, how its cost
varies over the features, and how noisy it is. Given samples, each has a posterior in closed form
and an evidence. The answer is their average, weighted by the evidence.

Legend: `H` hypotheses, `B` blocks of prior covariance, `V` source devices, `F` features of a
network (the last `V` are the relative costs on the source devices), `n` samples.
"""

import dataclasses

import chex
import numpy as np
import scipy

from hwnas_jax.cost.models.sources import FREEDOM, weight_bound

_SPARSE = 0.1
_SMALLEST_SHARE, _SMALLEST_NOISE = -4.0, -6.0
_ROUNDS = 8
_FREE_LEVEL = 100.0
_KEPT = 0.999
# The 90 % quantile of Student's t with four degrees of freedom, over that of the normal
# distribution: an interval need not cover the far tail of the noise.
_NOISE_WIDTH = (2.132 / 1.645) ** 2


@dataclasses.dataclass(frozen=True)
class Hypotheses:
    """What may be true of a device.

    Attributes:
      shares: `float64[H, B + 1]`, variance of each block over the reference set. The last is that
        of the source devices' costs, weighted by `anchors`.
      anchors: `float64[H, V]`, the mix of source devices that is expected before any sample. Rows
        sum to one.
      noise: `float64[H]`, variance of the measurements, in the unit of the shares.
      log_prior: `float64[H]`, logarithm of the prior probability.
    """

    shares: np.ndarray
    anchors: np.ndarray
    noise: np.ndarray
    log_prior: np.ndarray

    def without(self, number: int) -> "Hypotheses":
        """Returns the hypotheses about a device without the source of this number."""
        anchors = np.delete(self.anchors, number, axis=1)
        total = anchors.sum(axis=1, keepdims=True)
        even = np.full(anchors.shape, 1 / anchors.shape[1])
        anchors = np.where(total > 1e-6, anchors / np.maximum(total, 1e-6), even)
        return dataclasses.replace(self, anchors=anchors)


def draw_hypotheses(count: int, blocks: int, sources: int, seed: int) -> Hypotheses:
    """Draws hypotheses, with shares and noise log-uniform over decades.

    Every other hypothesis expects the even mean of all sources. The others expect a Dirichlet draw,
    which is mostly one or two sources.

    Args:
      count: `H`, a power of two.
      blocks: `B`.
      sources: `V`.
      seed: of the draws.
    """
    points = scipy.stats.qmc.Sobol(blocks + 2, seed=seed).random(count)
    shares = 10 ** (_SMALLEST_SHARE * (1 - points[:, :-1]))
    noise = 10 ** (_SMALLEST_NOISE * (1 - points[:, -1]))
    anchors = np.random.default_rng(seed).gamma(_SPARSE, size=(count, sources)) + 1e-12
    anchors[::2] = 1.0
    anchors /= anchors.sum(axis=1, keepdims=True)
    return Hypotheses(shares, anchors, noise, np.full(count, -np.log(count)))


@dataclasses.dataclass(frozen=True)
class Explained:
    """How each hypothesis explains the samples.

    Attributes:
      weights: `float64[H]`, posterior probability.
      log_evidence: `float64[H]`, up to a constant.
      residual: `float64[H, n]`, inverse covariance times the error of the expectation.
      trust: `float64[H, n]`, the weight of each sample, below one for samples that are far off.
      variance: `float64[H]`, the likeliest unit of the shares.
      level: `float64[H]`, median ratio of the samples to what was expected.
    """

    weights: np.ndarray
    log_evidence: np.ndarray
    residual: np.ndarray
    trust: np.ndarray
    variance: np.ndarray
    level: np.ndarray


def explain(
    hypotheses: Hypotheses,
    projected: list[np.ndarray],
    sources: np.ndarray,
    costs: np.ndarray,
    anchor_scale: float,
) -> Explained:
    """Weighs every hypothesis by its evidence from the samples.

    The overall level of the cost is free, the unit of the variances takes its likeliest value, and
    the noise has heavy tails.

    Args:
      hypotheses: `H` of them.
      projected: for each block the samples' features times its factor, `float64[n, r]`.
      sources: `float64[n, V]`, relative costs on the source devices, less one.
      costs: `float64[n]`.
      anchor_scale: brings the sources' variance over the reference set to one.

    References: Tipping and Lawrence, "Variational inference for Student-t models", 2005.
    """
    count = len(costs)
    chex.assert_rank(costs, 1)
    chex.assert_shape(sources, (count, hypotheses.anchors.shape[1]))
    expected = (1 + sources) @ hypotheses.anchors.T
    level = np.median(costs[:, None] / expected, axis=0)
    missed = (costs[:, None] - level * expected).T
    grams = np.stack([block @ block.T for block in projected])
    scaled = sources * anchor_scale
    prior = np.tensordot(hypotheses.shares[:, :-1], grams, 1)
    prior += np.einsum(
        "h,hv,iv,jv->hij", hypotheses.shares[:, -1], hypotheses.anchors, scaled, scaled,
        optimize=True,
    )  # fmt: skip
    free = free_level(hypotheses)
    prior += free[:, None, None]
    weights = np.ones((len(free), count))
    for turn in range(_ROUNDS):
        noise = hypotheses.noise[:, None] / weights
        covariance = prior + noise[:, :, None] * np.eye(count)
        inverse = np.linalg.inv(covariance)
        residual = np.einsum("hij,hj->hi", inverse, missed)
        size = np.maximum((residual * missed).sum(axis=1), np.finfo(float).tiny)
        variance = size / (count - 1)
        off = (noise * residual) ** 2 / variance[:, None]
        spread = noise - noise**2 * np.diagonal(inverse, axis1=1, axis2=2)
        rate = (FREEDOM + (off + spread) / hypotheses.noise[:, None]) / 2
        found = (FREEDOM + 1) / 2 / rate
        if turn < _ROUNDS - 1:
            weights = found
    log_evidence = (
        -0.5 * (count - 1) * np.log(size)
        - 0.5 * np.linalg.slogdet(covariance)[1]
        + 0.5 * np.log(free)
        + weight_bound(found, rate).sum(axis=1)
    )
    total = log_evidence + hypotheses.log_prior
    probability = np.exp(total - total.max())
    return Explained(
        probability / probability.sum(), log_evidence, residual, weights, variance, level
    )


def free_level(hypotheses: Hypotheses) -> np.ndarray:
    """Returns a prior variance of the level, `float64[H]`, so wide that only samples decide it."""
    return _FREE_LEVEL * hypotheses.shares.sum(axis=1)


@dataclasses.dataclass(frozen=True)
class Posterior:
    """A normal distribution over the coefficients of a cost that is linear in its features.

    Attributes:
      mean: `float64[F + 1]`; the first is the constant.
      covariance: `float64[F + 1, F + 1]`.
      noise: variance of a measurement about the cost.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise: float


def average(
    hypotheses: Hypotheses,
    explained: Explained,
    factors: list[np.ndarray],
    features: np.ndarray,
    anchor_scale: float,
) -> Posterior:
    """Returns the mean and covariance of the hypotheses' posteriors together.

    Args:
      hypotheses: `H` of them.
      explained: by the samples.
      factors: the factor of each block, `float64[F, r]`.
      features: `float64[n, F]` of the samples, centred on the reference set.
      anchor_scale: as in `explain`.
    """
    count, width = features.shape
    sources = hypotheses.anchors.shape[1]
    extended = np.c_[np.ones(count), features]
    blocks = [factor @ factor.T for factor in factors]
    order = np.argsort(explained.weights)[::-1]
    kept = order[: 1 + int(np.searchsorted(np.cumsum(explained.weights[order]), _KEPT))]
    shares = explained.weights[kept] / explained.weights[kept].sum()
    tails = max(1.0, (count - 1) / max(count - 3, 1))
    free, means, within, noise = free_level(hypotheses), [], 0.0, 0.0
    for number, share in zip(kept, shares, strict=True):
        prior = np.zeros((width + 1, width + 1))
        prior[0, 0] = free[number]
        for amount, block in zip(hypotheses.shares[number, :-1], blocks, strict=True):
            prior[1:, 1:] += amount * block
        anchors = hypotheses.anchors[number]
        last = np.arange(width + 1 - sources, width + 1)
        prior[last, last] += hypotheses.shares[number, -1] * anchors * anchor_scale**2
        gain = extended @ prior
        mean = gain.T @ explained.residual[number]
        mean[0] += explained.level[number]
        mean[last] += explained.level[number] * anchors
        means.append(mean)
        variance = explained.variance[number] * tails
        noise_here = hypotheses.noise[number] / explained.trust[number]
        # Joseph's form stays positive where little noise leaves little variance.
        pull = np.linalg.solve(extended @ gain.T + np.diag(noise_here), gain).T
        rest = np.eye(width + 1) - pull @ extended
        kept_apart = rest @ prior @ rest.T + (pull * noise_here) @ pull.T
        within = within + share * variance * kept_apart
        noise += share * variance * hypotheses.noise[number] * _NOISE_WIDTH
    stacked = np.stack(means)
    mean = shares @ stacked
    apart = (stacked - mean) * np.sqrt(shares)[:, None]
    return Posterior(mean, within + apart.T @ apart, float(noise))
