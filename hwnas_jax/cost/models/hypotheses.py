"""What may be true of a new device, before and after a few samples of it.

Many hypotheses about a device are drawn. Each says which other devices it resembles, how its cost
varies over the features of networks, and how noisy it is. Every hypothesis is a Bayesian linear
model, so given samples its posterior and its evidence have a closed form.

Legend: `H` hypotheses, `B` blocks of prior covariance, `V` source devices, `n` samples.
"""

import dataclasses
from typing import Self

import chex
import numpy as np
import scipy

from hwnas_jax.cost.models.sources import FREEDOM, weight_bound

_SPARSE = 0.1
_SMALLEST_SHARE, _SMALLEST_NOISE = -4.0, -6.0
_MOST_NOISE = 0.3
_MIXES = 16
_MIX_NOISE = (-3.0, -1.0)
# What mixes have of the prior where they are the rule, and where they are the exception.
_MIX_PRIOR, _RARE_MIX_PRIOR = 0.8, 0.05
_ROUNDS, _ROUNDS_FROM_NEAR = 8, 2
_FREE_LEVEL = 100.0


@dataclasses.dataclass(frozen=True)
class Hypotheses:
    """What may be true of a device.

    A hypothesis is either general or a mix. A mix says that the device's cost is a weighted sum of
    the costs on the source devices and nothing else. A general one has a free level, and effects
    of single options too.

    Attributes:
      shares: `float64[H, B + 1]`, variance of each block over the reference set. The last is that
        of the source devices' costs, weighted by `anchors`.
      anchors: `float64[H, V]`, the mix of source devices that is expected before any sample. Rows
        sum to one.
      noise: `float64[H]`, variance of the measurements, in the unit of the shares.
      log_prior: `float64[H]`, logarithm of the prior probability.
      mixes: `bool[H]`, which are mixes.
    """

    shares: np.ndarray
    anchors: np.ndarray
    noise: np.ndarray
    log_prior: np.ndarray
    mixes: np.ndarray

    @property
    def level(self) -> np.ndarray:
        """The prior variance of the level, `float64[H]`: so wide that only samples decide it."""
        return np.where(self.mixes, 0.0, _FREE_LEVEL * self.shares.sum(axis=1))

    def without(self, number: int) -> Self:
        """Returns the hypotheses about a device without the source of this number."""
        anchors = np.delete(self.anchors, number, axis=1)
        total = anchors.sum(axis=1, keepdims=True)
        even = np.full(anchors.shape, 1 / anchors.shape[1])
        anchors = np.where(total > 1e-6, anchors / np.maximum(total, 1e-6), even)
        return dataclasses.replace(self, anchors=anchors)

    def learned(self, evidence: np.ndarray, share: float) -> Self:
        """Returns the hypotheses with a prior that trials have changed.

        A mix is either the rule or the exception, and the trials' evidence weighs the two. Among
        the general hypotheses the trials raise those that were right.

        Args:
          evidence: `float64[T, H]`, logarithm of each hypothesis' evidence in each trial.
          share: of the prior among the general hypotheses, in [0, 1), that the trials decide.
        """
        priors = np.stack([self._with_mixes(total) for total in (_MIX_PRIOR, _RARE_MIX_PRIOR)])
        each = scipy.special.logsumexp(evidence[:, None] + priors, axis=2).sum(axis=0)
        chance = float(scipy.special.expit(each[0] - each[1]))
        total = chance * _MIX_PRIOR + (1 - chance) * _RARE_MIX_PRIOR
        log_prior = self._with_mixes(total)
        log_weight = evidence + log_prior
        weights = np.exp(log_weight - scipy.special.logsumexp(log_weight, axis=1, keepdims=True))
        right = np.where(self.mixes, 0.0, weights.sum(axis=0))
        even = ~self.mixes / (~self.mixes).sum()
        mixed = share * right / right.sum() + (1 - share) * even
        general = np.log(1 - total) + np.log(np.maximum(mixed, 1e-300))
        return dataclasses.replace(self, log_prior=np.where(self.mixes, log_prior, general))

    def _with_mixes(self, total):
        """Returns the log prior when mixes have `total` of it together, even within each kind."""
        mixes = self.mixes.sum()
        each = np.where(self.mixes, total / mixes, (1 - total) / (len(self.mixes) - mixes))
        return np.log(each)


def draw_hypotheses(count: int, blocks: int, sources: int, seed: int) -> Hypotheses:
    """Draws general hypotheses, with shares and noise log-uniform over decades, and adds mixes.

    Every other general hypothesis expects the even mean of all sources. The others expect a
    Dirichlet draw, which is mostly one or two sources. Mixes start from the even mean and differ in
    their noise. Together they have most of the prior until trials tell otherwise: where a few
    samples cannot tell, a ridge regression on the sources errs less than a model with many effects.

    Args:
      count: of general hypotheses, a power of two.
      blocks: `B`.
      sources: `V`.
      seed: of the draws.
    """
    points = scipy.stats.qmc.Sobol(blocks + 2, seed=seed).random(count)
    shares = 10 ** (_SMALLEST_SHARE * (1 - points[:, :-1]))
    noise = 10 ** (_SMALLEST_NOISE * (1 - points[:, -1]))
    noise = np.minimum(noise, _MOST_NOISE * shares.sum(axis=1))
    anchors = np.random.default_rng(seed).gamma(_SPARSE, size=(count, sources)) + 1e-12
    anchors[::2] = 1.0
    alone = np.zeros((_MIXES, blocks + 1))
    alone[:, -1] = 1.0
    anchors = np.concatenate([anchors, np.ones((_MIXES, sources))])
    prior = np.repeat([(1 - _MIX_PRIOR) / count, _MIX_PRIOR / _MIXES], [count, _MIXES])
    return Hypotheses(
        np.concatenate([shares, alone]),
        anchors / anchors.sum(axis=1, keepdims=True),
        np.concatenate([noise, np.logspace(*_MIX_NOISE, _MIXES)]),
        np.log(prior),
        np.arange(count + _MIXES) >= count,
    )


@dataclasses.dataclass(frozen=True)
class Samples:
    """Samples of the device, and how every hypothesis expects them to vary together.

    Attributes:
      costs: `float64[n]`.
      expected: `float64[H, n]`, the relative cost that each hypothesis expects.
      covariance: `float64[H, n, n]`, prior covariance of the costs without noise.
    """

    costs: np.ndarray
    expected: np.ndarray
    covariance: np.ndarray

    def without(self, rows: np.ndarray) -> Self:
        """Returns the samples except those of the numbers `rows` (`int[m]`)."""
        kept = np.delete(np.arange(len(self.costs)), rows)
        return dataclasses.replace(
            self,
            costs=self.costs[kept],
            expected=self.expected[:, kept],
            covariance=self.covariance[:, kept][:, :, kept],
        )


def see_samples(
    hypotheses: Hypotheses,
    projected: list[np.ndarray],
    sources: np.ndarray,
    costs: np.ndarray,
    anchor_scale: float,
) -> Samples:
    """Returns the samples as all hypotheses see them.

    Args:
      hypotheses: `H` of them.
      projected: for each block the samples' features times its factor, `float64[n, r]`.
      sources: `float64[n, V]`, relative costs on the source devices, less one.
      costs: `float64[n]`.
      anchor_scale: brings the sources' variance over the reference set to one.
    """
    count = len(costs)
    chex.assert_rank(costs, 1)
    chex.assert_shape(sources, (count, hypotheses.anchors.shape[1]))
    grams = np.stack([block @ block.T for block in projected])
    prior = np.tensordot(hypotheses.shares[:, :-1], grams, 1)
    weights = hypotheses.shares[:, -1:] * hypotheses.anchors * anchor_scale**2
    for some, offset in ((hypotheses.mixes, 1.0), (~hypotheses.mixes, 0.0)):
        near = sources + offset
        prior[some] += np.einsum("hv,iv,jv->hij", weights[some], near, near, optimize=True)
    prior += hypotheses.level[:, None, None]
    return Samples(costs, hypotheses.anchors @ (1 + sources).T, prior)


@dataclasses.dataclass(frozen=True)
class Explained:
    """How each hypothesis explains the samples.

    Attributes:
      log_weight: `float64[H]`, logarithm of the posterior probability, up to a constant.
      residual: `float64[H, n]`, inverse covariance times the error of the expectation.
      trust: `float64[H, n]`, the weight of each sample, below one for samples that are far off.
      variance: `float64[H]`, the likeliest unit of the shares.
      level: `float64[H]`, median ratio of the samples to what was expected.
    """

    log_weight: np.ndarray
    residual: np.ndarray
    trust: np.ndarray
    variance: np.ndarray
    level: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """Posterior probabilities, `float64[H]`."""
        return np.exp(self.log_weight - scipy.special.logsumexp(self.log_weight))


def explain(hypotheses: Hypotheses, samples: Samples, trust: np.ndarray | None = None) -> Explained:
    """Weighs every hypothesis by its evidence from the samples.

    The unit of the variances takes its likeliest value, and the noise has heavy tails.

    Args:
      hypotheses: `H` of them.
      samples: `n` of them.
      trust: `float64[H, n]`, from an explanation of nearly the same samples; saves most of the
        work.

    References: Tipping and Lawrence, "Variational inference for Student-t models", 2005.
    """
    count = len(samples.costs)
    level = np.median(samples.costs / samples.expected, axis=1)
    missed = samples.costs - level[:, None] * samples.expected
    rounds = _ROUNDS if trust is None else _ROUNDS_FROM_NEAR
    weights = np.ones_like(missed) if trust is None else trust
    for turn in range(rounds):
        noise = hypotheses.noise[:, None] / weights
        covariance = samples.covariance + noise[:, :, None] * np.eye(count)
        inverse = np.linalg.inv(covariance)
        residual = np.einsum("hij,hj->hi", inverse, missed)
        size = np.maximum((residual * missed).sum(axis=1), np.finfo(float).tiny)
        variance = size / (count - 1)
        off = (noise * residual) ** 2 / variance[:, None]
        spread = noise - noise**2 * np.diagonal(inverse, axis1=1, axis2=2)
        rate = (FREEDOM + (off + spread) / hypotheses.noise[:, None]) / 2
        found = (FREEDOM + 1) / 2 / rate
        if turn < rounds - 1:
            weights = found
    # With a free level the prior is improper in one direction; this takes its width out.
    widths = np.where(hypotheses.mixes, 1.0, hypotheses.level)
    log_evidence = (
        -0.5 * (count - 1) * np.log(size)
        - 0.5 * np.linalg.slogdet(covariance)[1]
        + 0.5 * np.log(widths)
        + weight_bound(found, rate).sum(axis=1)
    )
    return Explained(log_evidence + hypotheses.log_prior, residual, weights, variance, level)
