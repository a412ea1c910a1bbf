"""What to expect of a new device, learned from known devices, and which samples to take of it.

Legend: `N` architectures, `D` decisions, `P` entries of a gate weight, `V` source devices, `F =
P + V` features of a network, `H` hypotheses.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.models.hypotheses import (
    Explained,
    Hypotheses,
    Posterior,
    average,
    draw_hypotheses,
    explain,
    free_level,
)
from hwnas_jax.cost.models.prior_covariance import make_blocks
from hwnas_jax.cost.models.sources import SourceModels, fit_sources, one_hot
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices

LEAST_SAMPLES = 3
_MOST_REFERENCES = 4000
_SMALLEST_DIRECTION = 1e-6


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """How a cost model is carried over from other devices."""

    hypotheses: int = 512
    """how many ways in which the new device may resemble the others; a power of two"""
    source_rows: int = 2000
    """networks that are read of each source device, drawn at random; 0 takes all"""
    trials: int = 4
    """how often each source device plays the new one, to learn what to expect"""
    trial_samples: int = 20
    """samples in such a trial"""
    learned: float = 0.75
    """share of the prior that the trials decide; the rest stays even"""


@dataclasses.dataclass(frozen=True)
class TransferPrior:
    """What is expected of a new device's cost, which is linear in a network's features.

    The features are the one-hot entries and the relative costs on the source devices, centred on
    the reference set.

    Attributes:
      space: the space of the networks.
      metric: which cost.
      sources: what networks cost on the other devices.
      centre: `float64[P]`, mean of the one-hot entries over the reference set.
      factors: `float64[F, r]` for each block of prior covariance, of unit variance over the set.
      anchor_scale: brings the sources' variance over the set to one.
      hypotheses: `H` of them.
    """

    space: Choices
    metric: str
    sources: SourceModels
    centre: np.ndarray
    factors: tuple[np.ndarray, ...]
    anchor_scale: float
    hypotheses: Hypotheses

    def features(self, architectures: np.ndarray) -> np.ndarray:
        """Returns `float64[N, F]` of architectures `int32[N, D]`."""
        encoded = one_hot(self.space, architectures)
        return np.c_[encoded - self.centre, self.sources.predict(encoded) - 1]

    def explain(self, architectures: np.ndarray, costs: np.ndarray) -> Explained:
        """Weighs the hypotheses by samples `int32[n, D]` and their costs `float64[n]`."""
        features = self.features(architectures)
        projected = [features @ factor for factor in self.factors]
        relative = features[:, len(self.centre) :]
        return explain(self.hypotheses, projected, relative, costs, self.anchor_scale)

    def condition(self, architectures: np.ndarray, costs: np.ndarray) -> Posterior:
        """Returns what is known of the device after samples `int32[n, D]` with costs `float64[n]`.

        Without samples it is the mean of the sources at their median scale, with an uncertainty as
        large as their differences.

        Raises:
          UserError: for one or two samples.
        """
        if len(costs) == 0:
            return self._unseen()
        check_samples(len(costs))
        explained = self.explain(architectures, costs)
        return average(
            self.hypotheses, explained, list(self.factors), self.features(architectures),
            self.anchor_scale,
        )  # fmt: skip

    def _unseen(self):
        scale, count = self.sources.scale, len(self.sources.scale)
        width = len(self.centre)
        mean = np.zeros(1 + width + count)
        mean[0] = np.median(scale)
        mean[1 + width :] = mean[0] / count
        # Source v predicts scale[v] * (1 + feature v), an affine map of the features.
        said = np.zeros((count, len(mean)))
        said[:, 0] = scale
        said[np.arange(count), 1 + width + np.arange(count)] = scale
        apart = (said - mean) / np.sqrt(max(count - 1, 1))
        return Posterior(mean, apart.T @ apart, 0.0)

    def expected_covariance(self) -> tuple[np.ndarray, float]:
        """Returns the mean prior covariance `float64[F + 1, F + 1]` of a cost, and its noise.

        Every hypothesis counts with a total variance of one over the reference set.
        """
        held = self.hypotheses
        unit = np.exp(held.log_prior - held.log_prior.max()) / held.shares.sum(axis=1)
        unit /= np.exp(held.log_prior - held.log_prior.max()).sum()
        width, count = len(self.centre), len(self.sources.scale)
        covariance = np.zeros((1 + width + count,) * 2)
        covariance[0, 0] = unit @ free_level(held)
        for amount, factor in zip(unit @ held.shares[:, :-1], self.factors, strict=True):
            covariance[1:, 1:] += amount * factor @ factor.T
        last = np.arange(1 + width, 1 + width + count)
        anchored = (unit * held.shares[:, -1]) @ held.anchors
        covariance[last, last] += anchored * self.anchor_scale**2
        return covariance, float(unit @ held.noise)


def check_samples(count: int) -> None:
    """Raises UserError for one or two samples, which do not show how far they can be trusted."""
    if 0 < count < LEAST_SAMPLES:
        raise UserError(f"transfer needs no sample at all or at least {LEAST_SAMPLES}, got {count}")


def make_prior(
    space: Choices,
    metric: str,
    sources: SourceModels,
    reference: np.ndarray,
    hypotheses: Hypotheses | None = None,
    *,
    count: int = 512,
    seed: int = 0,
) -> TransferPrior:
    """Returns a prior in which all hypotheses are still equally probable.

    The blocks of covariance are those of `make_blocks` and one over the source devices. In that
    block, the directions in which the devices differ count for more than their size.

    Args:
      space: the space of the networks.
      metric: which cost.
      sources: what networks cost on the other devices.
      reference: `int32[N, D]`, the networks over which variances are one.
      hypotheses: to use; None draws them.
      count: how many to draw.
      seed: of the draws.
    """
    encoded = one_hot(space, reference)
    centre = encoded.mean(axis=0)
    relative = sources.predict(encoded) - 1
    features = np.c_[encoded - centre, relative]
    width, devices = len(centre), relative.shape[1]
    factors = [np.r_[block, np.zeros((devices, block.shape[1]))]
               for block in make_blocks(space).values()]  # fmt: skip
    size, direction = np.linalg.eigh(relative.T @ relative / len(relative))
    kept = size > _SMALLEST_DIRECTION * max(size[-1], np.finfo(float).tiny)
    factors.append(np.r_[np.zeros((width, kept.sum())), direction[:, kept] * size[kept] ** -0.25])
    scaled = [factor / _deviation(features @ factor) for factor in factors]
    anchor_scale = 1 / _deviation(relative / np.sqrt(devices))
    held = hypotheses or draw_hypotheses(count, len(factors), devices, seed)
    return TransferPrior(space, metric, sources, centre, tuple(scaled), anchor_scale, held)


def _deviation(values):
    """Returns the root mean square length of the rows `float64[N, r]`, or one if all are zero."""
    deviation = np.sqrt((values**2).sum(axis=1).mean())
    return float(deviation) if deviation > 0 else 1.0


def learn_prior(
    table: CostTable,
    sources: Sequence[str],
    config: TransferConfig | None = None,
    *,
    metric: str = "latency_ms",
    rows: np.ndarray | None = None,
    seed: int = 0,
) -> TransferPrior:
    """Learns from source devices what to expect of a new one.

    Each source plays the new device in turn: it is sampled a few times and explained by the others.
    The prior probability of a hypothesis is how often it was right, mixed with an even one for
    devices that are unlike all of these.

    Args:
      table: holds the sources; its architectures are the reference set.
      sources: names of devices.
      config: the settings.
      metric: which cost.
      rows: `int[n]`, the architectures whose costs may be read; None draws `config.source_rows` of
        them.
      seed: of all draws.

    Raises:
      UserError: for settings out of range, and for what `fit_sources` refuses.

    References: Lee et al., "HELP: Hardware-Adaptive Efficient Latency Prediction for NAS via
    Meta-Learning", 2021 (the task); Hoeting et al., "Bayesian Model Averaging", 1999.
    """
    config = config or TransferConfig()
    _check(config)
    rng = np.random.default_rng(seed)
    total = len(table.architectures)
    if rows is None:
        rows = np.arange(total)
        if config.source_rows and config.source_rows < total:
            rows = np.sort(rng.choice(total, config.source_rows, replace=False))
    rows = np.asarray(rows)
    spread = np.linspace(0, total - 1, min(total, _MOST_REFERENCES)).round().astype(int)
    reference = table.architectures[spread]
    models = fit_sources(table, sources, metric, rows=rows, reference=reference)
    prior = make_prior(
        table.space, metric, models, reference, count=config.hypotheses, seed=seed
    )  # fmt: skip
    if len(sources) < 2 or not config.trials or not config.learned:
        return prior
    right = np.zeros(config.hypotheses)
    for number, device in enumerate(sources):
        held = prior.hypotheses.without(number)
        others = make_prior(table.space, metric, models.without(number), reference, held)
        column = table.values[metric][table.row(device)]
        known = rows[~np.isnan(column[rows])]
        for _ in range(config.trials):
            taken = rng.choice(known, min(config.trial_samples, len(known)), replace=False)
            right += others.explain(table.architectures[taken], column[taken].astype(float)).weights
    mixed = config.learned * right / right.sum() + (1 - config.learned) / len(right)
    hypotheses = dataclasses.replace(prior.hypotheses, log_prior=np.log(mixed))
    return dataclasses.replace(prior, hypotheses=hypotheses)


def _check(config):
    if config.hypotheses < 2 or config.hypotheses & (config.hypotheses - 1):
        raise UserError(f"hypotheses must be a power of two, got {config.hypotheses}")
    for name, least in (("source_rows", 0), ("trials", 0), ("trial_samples", LEAST_SAMPLES)):
        if getattr(config, name) < least:
            raise UserError(f"{name} must be at least {least}, got {getattr(config, name)}")
    if not 0 <= config.learned < 1:
        raise UserError(f"learned must be in [0, 1), got {config.learned}")


def choose_samples(prior: TransferPrior, candidates: np.ndarray, count: int) -> np.ndarray:
    """Chooses which networks to measure on the new device, before anything is known of it.

    They are chosen one after another. Each is the one whose measurement is expected to reduce the
    variance over all candidates most.

    Args:
      prior: of the device.
      candidates: `int32[N, D]`, networks that can be measured.
      count: how many to choose.

    Returns:
      `int[count]`, rows of `candidates`, the most informative first.

    Raises:
      UserError: when there are fewer candidates.

    References: Seo et al., "Gaussian Process Regression: Active Data Selection and Test Point
    Rejection", 2000.
    """
    if not 0 <= count <= len(candidates):
        raise UserError(f"{count} samples cannot be chosen from {len(candidates)} networks")
    features = np.c_[np.ones(len(candidates)), prior.features(candidates)]
    covariance, noise = prior.expected_covariance()
    moment = features.T @ features / len(features)
    chosen: list[int] = []
    free = np.ones(len(candidates), bool)
    for _ in range(count):
        gain = features @ covariance
        own = (gain * features).sum(axis=1) + noise
        taken = ((gain @ moment) * gain).sum(axis=1) / own
        best = int(np.argmax(np.where(free, taken, -np.inf)))
        chosen.append(best)
        free[best] = False
        covariance = covariance - np.outer(gain[best], gain[best]) / own[best]
    return np.array(chosen, int)
