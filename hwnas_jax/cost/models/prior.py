"""What to expect of a new device, learned from known devices, and which samples to take of it.

Legend: `N` architectures, `D` decisions, `V` source devices, `W` views, `F` features of a network
in a view, `G` the features of all views together, `H` hypotheses.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.models.hypotheses import Hypotheses, draw_hypotheses, explain, see_samples
from hwnas_jax.cost.models.intervals import LEAST_RATIOS, widening
from hwnas_jax.cost.models.posterior import Posterior, Seen, average, predict_left_out
from hwnas_jax.cost.models.sources import SourceModels, fit_sources
from hwnas_jax.cost.models.views import View, make_views
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices

LEAST_SAMPLES = 3
_MOST_REFERENCES = 4000
_FOLDS = 10


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

    The features are those of all views, one after another.

    Attributes:
      space: the space of the networks.
      metric: which cost.
      sources: what networks cost on the other devices.
      views: how the device may see networks.
      hypotheses: `H` of them, each possible in every view.
    """

    space: Choices
    metric: str
    sources: SourceModels
    views: tuple[View, ...]
    hypotheses: Hypotheses

    def features(self, architectures: np.ndarray) -> np.ndarray:
        """Returns `float64[N, G]` of architectures `int32[N, D]`."""
        return np.concatenate([view.features(architectures) for view in self.views], axis=1)

    def seen(self, architectures: np.ndarray, costs: np.ndarray) -> list[Seen]:
        """Returns samples `int32[n, D]` with their costs `float64[n]`, in each view."""
        found = []
        for view in self.views:
            features = view.features(architectures)
            projected = [features @ factor for factor in view.factors]
            relative = features[:, len(view.centre) :]
            samples = see_samples(
                self.hypotheses, projected, relative, costs, view.anchor_scale
            )  # fmt: skip
            found.append(Seen(view, features, samples))
        return found

    def condition(self, architectures: np.ndarray, costs: np.ndarray) -> Posterior:
        """Returns what is known of the device after samples `int32[n, D]` with costs `float64[n]`.

        From nine samples on, the width of the intervals is that at which samples, each predicted
        from others, lie inside as often as they should. Without samples the mean is that of the
        sources at their median scale, and nothing is known of how far off that scale is.

        Raises:
          UserError: for one or two samples.
        """
        if len(costs) == 0:
            return self._unseen()
        check_samples(len(costs))
        seen = self.seen(architectures, costs)
        explained = [explain(self.hypotheses, one.samples) for one in seen]
        posterior = average(self.hypotheses, seen, explained)
        if len(costs) < LEAST_RATIOS:
            return posterior
        folds = np.array_split(np.arange(len(costs)), min(len(costs), _FOLDS))
        parts = [predict_left_out(self.hypotheses, seen, explained, fold) for fold in folds]
        means, deviations = (np.concatenate(column) for column in zip(*parts, strict=True))
        return posterior.widened(widening(np.abs(costs - means) / deviations))

    def _unseen(self):
        scale, written = float(np.median(self.sources.scale)), self.views[0]
        count = len(self.sources.devices)
        mean = np.zeros(1 + sum(view.width for view in self.views))
        mean[0] = scale
        mean[1 + written.width - count : 1 + written.width] = scale / count
        return Posterior(mean, np.zeros((len(mean),) * 2), 0.0)

    def expected_covariance(self) -> tuple[np.ndarray, float]:
        """Returns the mean prior covariance `float64[G + 1, G + 1]` of a cost, and its noise.

        Every hypothesis counts with a total variance of one over the reference set.
        """
        held = self.hypotheses
        unit = np.exp(held.log_prior - held.log_prior.max())
        unit /= unit.sum() * held.shares.sum(axis=1)
        covariance = np.zeros((1 + sum(view.width for view in self.views),) * 2)
        start = 1
        for view in self.views:
            index = np.r_[0, np.arange(start, start + view.width)]
            start += view.width
            for mixed in (False, True):
                some = held.mixes == mixed
                amount = np.exp(view.log_prior) * unit[some]
                covariance[np.ix_(index, index)] += view.covariance(
                    amount @ held.level[some], amount @ held.shares[some, :-1],
                    (amount * held.shares[some, -1]) @ held.anchors[some], mixed=mixed,
                )  # fmt: skip
        return covariance, float(unit @ held.noise)


def check_samples(count: int) -> None:
    """Raises UserError for one or two samples, which do not show how far they can be trusted."""
    if 0 < count < LEAST_SAMPLES:
        raise UserError(f"transfer needs no sample at all or at least {LEAST_SAMPLES}, got {count}")


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
    Their evidence decides whether mixes of the sources have most of the prior or little. Among the
    general hypotheses, the prior probability of one is how often it was right, mixed with an even
    one for devices that are unlike all of these.

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
    views = make_views(table.space, models, reference)
    blocks = len(views[0].factors)
    hypotheses = draw_hypotheses(config.hypotheses, blocks, len(sources), seed)
    if len(sources) > 1 and config.trials and config.learned:
        evidence = []
        for number, device in enumerate(sources):
            others = make_views(table.space, models.without(number), reference)[:1]
            held = hypotheses.without(number)
            trial = TransferPrior(table.space, metric, models.without(number), others, held)
            column = table.values[metric][table.row(device)]
            known = rows[~np.isnan(column[rows])]
            for _ in range(config.trials):
                taken = rng.choice(known, min(config.trial_samples, len(known)), replace=False)
                costs = column[taken].astype(float)
                (seen,) = trial.seen(table.architectures[taken], costs)
                evidence.append(explain(held, seen.samples).log_weight - held.log_prior)
        hypotheses = hypotheses.learned(np.stack(evidence), config.learned)
    return TransferPrior(table.space, metric, models, views, hypotheses)


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
