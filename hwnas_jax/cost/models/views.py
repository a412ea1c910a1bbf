"""How a runtime may see networks: as they are written, or without what it leaves out.

Legend: `N` networks, `D` decisions, `P` entries of a gate weight, `V` source devices, `F = P + V`
features of a network.
"""

import dataclasses

import numpy as np

from hwnas_jax.cost.models.multilinear import is_enumerable
from hwnas_jax.cost.models.prior_covariance import make_blocks
from hwnas_jax.cost.models.sources import SourceModels, one_hot
from hwnas_jax.spaces.base import Choices

_SMALLEST_DIRECTION = 1e-6
_WRITTEN = 0.9


@dataclasses.dataclass(frozen=True)
class View:
    """The features of networks by one rule, and how costs vary over them.

    The features are the one-hot entries and the relative costs on the source devices, of the form
    that the rule leaves of a network, centred on the reference set.

    Attributes:
      space: the space of the networks.
      rule: "written" takes networks as they are. "canonical" drops what nothing reads and what
        computes on zeros; "used" drops only what nothing reads.
      sources: what networks cost on the other devices.
      centre: `float64[P]`, mean of the one-hot entries over the reference set.
      factors: `float64[F, r]` for each block of prior covariance, of unit variance over the set.
      anchor_scale: brings the sources' variance over the set to one.
      log_prior: logarithm of the probability that a device follows this rule.
    """

    space: Choices
    rule: str
    sources: SourceModels
    centre: np.ndarray
    factors: tuple[np.ndarray, ...]
    anchor_scale: float
    log_prior: float

    @property
    def width(self) -> int:
        """`F`."""
        return len(self.centre) + len(self.sources.devices)

    def features(self, architectures: np.ndarray) -> np.ndarray:
        """Returns `float64[N, F]` of architectures `int32[N, D]`."""
        encoded = one_hot(self.space, seen_by(self.space, self.rule, architectures))
        return np.c_[encoded - self.centre, self.sources.predict(encoded) - 1]

    def covariance(
        self, level: float, shares: np.ndarray, anchored: np.ndarray, *, mixed: bool
    ) -> np.ndarray:
        """Returns the prior covariance of the constant and the features, `float64[F + 1, F + 1]`.

        Args:
          level: variance of the constant.
          shares: `float64[B]`, variance of each block.
          anchored: `float64[V]`, variance of the sources' coefficients, over that of the set.
          mixed: whether a source's coefficient scales its whole cost, not only what differs
            between networks, so that it moves the constant too.
        """
        prior = np.zeros((self.width + 1,) * 2)
        prior[0, 0] = level
        for amount, factor in zip(shares, self.factors, strict=True):
            if amount:
                prior[1:, 1:] += amount * factor @ factor.T
        own = anchored * self.anchor_scale**2
        last = np.arange(self.width + 1 - len(own), self.width + 1)
        prior[last, last] += own
        if mixed:
            prior[0, 0] += own.sum()
            prior[0, last] += own
            prior[last, 0] += own
        return prior


def rules_of(space: Choices) -> tuple[str, ...]:
    """Returns the rules that differ in a space; "written" is the first.

    A rule whose effect on gates is unknown is left out of spaces that are too large to tabulate.
    """
    tabulated = is_enumerable(space)
    rules = ["written"]
    if space.mixes_canonical or (tabulated and type(space).canonical is not Choices.canonical):
        rules.append("canonical")
    if tabulated and type(space).used is not Choices.used:
        rules.append("used")
    return tuple(rules)


def seen_by(space: Choices, rule: str, architectures: np.ndarray) -> np.ndarray:
    """Returns what a rule leaves of architectures, both `int32[N, D]`."""
    forms = {"written": lambda rows: rows, "canonical": space.canonical, "used": space.used}
    return forms[rule](np.asarray(architectures))


def make_views(space: Choices, sources: SourceModels, reference: np.ndarray) -> tuple[View, ...]:
    """Returns a view for each rule of the space.

    The blocks of covariance are those of `make_blocks` and one over the source devices. In that
    block, the directions in which the devices differ count for more than their size.

    Args:
      space: the space of the networks.
      sources: what networks cost on the other devices.
      reference: `int32[N, D]`, the networks over which variances are one.
    """
    rules = rules_of(space)
    others = (1 - _WRITTEN) / max(len(rules) - 1, 1)
    blocks = make_blocks(space).values()
    views = []
    for number, rule in enumerate(rules):
        encoded = one_hot(space, seen_by(space, rule, reference))
        centre = encoded.mean(axis=0)
        relative = sources.predict(encoded) - 1
        features = np.c_[encoded - centre, relative]
        width, devices = len(centre), relative.shape[1]
        factors = [np.r_[block, np.zeros((devices, block.shape[1]))] for block in blocks]
        size, direction = np.linalg.eigh(relative.T @ relative / len(relative))
        kept = size > _SMALLEST_DIRECTION * max(size[-1], np.finfo(float).tiny)
        lengths = direction[:, kept] * size[kept] ** -0.25
        factors.append(np.r_[np.zeros((width, kept.sum())), lengths])
        scaled = tuple(factor / _deviation(features @ factor) for factor in factors)
        anchor_scale = 1 / _deviation(relative / np.sqrt(devices))
        prior = float(np.log(others if number else (_WRITTEN if len(rules) > 1 else 1.0)))
        views.append(View(space, rule, sources, centre, scaled, anchor_scale, prior))
    return tuple(views)


def _deviation(values):
    """Returns the root mean square length of the rows `float64[N, r]`, or one if all are zero."""
    deviation = np.sqrt((values**2).sum(axis=1).mean())
    return float(deviation) if deviation > 0 else 1.0
