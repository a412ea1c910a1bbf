"""What other devices show about a space: one robust regression for each of them.

Legend: `N` networks, `D` decisions, `K` options of the widest decision, `P = D K` entries of a
gate weight, `V` source devices, `R` pairs of entries.
"""

import dataclasses
from collections.abc import Sequence

import chex
import numpy as np
import scipy

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices

FREEDOM = 4.0
"""Degrees of freedom of the noise. Tails are heavy: a busy phone can take twice its usual time."""

_LEAST_ROWS = 30
_MOST_PAIRS = 1000
_RIDGES = 10.0 ** np.arange(-8, 1.1, 0.5)
_PAIR_SHARES = (0.03, 0.1, 0.3, 1.0, 3.0)
_ROUNDS, _PAIR_ROUNDS = 12, 3
_LEVEL = 3.0


def one_hot(space: Choices, architectures: np.ndarray) -> np.ndarray:
    """Returns `float64[N, P]`, the gate weights of the architectures `int32[N, D]`, row by row."""
    architectures = np.asarray(architectures)
    chex.assert_shape(architectures, (None, space.num_decisions))
    return np.eye(space.num_options)[architectures].reshape(len(architectures), -1)


def pairs_of(space: Choices) -> np.ndarray:
    """Returns all pairs of entries of a gate weight that belong to two decisions, `int[R, 2]`.

    `R` is zero when there are so many that a table of the usual size cannot determine them.
    """
    entries = np.flatnonzero(space.mask.reshape(-1))
    decision = entries // space.num_options
    first, second = np.nonzero(decision[:, None] > decision[None, :])
    if len(first) > _MOST_PAIRS:
        return np.zeros((0, 2), int)
    return np.stack([entries[first], entries[second]], axis=1)


@dataclasses.dataclass(frozen=True)
class SourceModels:
    """What networks cost on each source device, relative to its mean over a reference set.

    `constant + x . table + sum over pairs of pair * x_a * x_b` for the one-hot `x`, linear in
    every row of a gate weight.

    Attributes:
      devices: `V` names.
      scale: `float64[V]`, the mean over the reference set, in the metric's unit.
      constant: `float64[V]`.
      table: `float64[V, P]`.
      pairs: `int[R, 2]`, see `pairs_of`.
      pair: `float64[V, R]`.
      outliers: `int[V]`, how many networks count for less than a quarter of a usual one.
    """

    devices: tuple[str, ...]
    scale: np.ndarray
    constant: np.ndarray
    table: np.ndarray
    pairs: np.ndarray
    pair: np.ndarray
    outliers: np.ndarray

    def predict(self, encoded: np.ndarray) -> np.ndarray:
        """Returns the relative costs `float64[N, V]` of one-hot rows `float64[N, P]`."""
        first, second = self.pairs.T
        together = encoded[:, first] * encoded[:, second]
        return self.constant + encoded @ self.table.T + together @ self.pair.T

    def without(self, number: int) -> "SourceModels":
        """Returns the sources except the one with this number."""
        kept = [i for i in range(len(self.devices)) if i != number]
        changes = {
            name: getattr(self, name)[kept]
            for name in ("scale", "constant", "table", "pair", "outliers")
        }
        return dataclasses.replace(self, devices=tuple(self.devices[i] for i in kept), **changes)


def fit_sources(
    table: CostTable,
    devices: Sequence[str],
    metric: str = "latency_ms",
    *,
    rows: np.ndarray | None = None,
    reference: np.ndarray | None = None,
) -> SourceModels:
    """Fits every source device on its own, with Student-t noise.

    A device's cost over its median is a sum over options. Where there are few pairs of options of
    two decisions, it is also a sum over these. The prior strengths of both and the noise are those
    with the greatest evidence.

    Args:
      table: holds the devices.
      devices: their names.
      metric: which cost.
      rows: `int[n]`, the architectures that may be read; None takes all.
      reference: `int32[N, D]`, over which costs have mean one; None takes those of the table.

    Raises:
      UserError: for no device, an unknown or repeated one, one without the metric, or one with
        fewer than 30 measured networks.

    References: Lange et al., "Robust Statistical Modeling Using the t Distribution", 1989;
    MacKay, "Bayesian Interpolation", 1992.
    """
    if not devices:
        raise UserError(f"transfer needs at least one source device of {table.source}")
    if len(set(devices)) != len(devices):
        raise UserError(f"a source device is named twice: {', '.join(devices)}")
    if metric not in table.values:
        raise UserError(f"{table.source} has no {metric}; it has {', '.join(table.values)}")
    pairs = pairs_of(table.space)
    rows = np.arange(len(table.architectures)) if rows is None else np.asarray(rows)
    encoded = one_hot(table.space, table.architectures[rows])
    fits = []
    for device in devices:
        column = table.values[metric][table.row(device)][rows].astype(float)
        known = ~np.isnan(column)
        if known.sum() < _LEAST_ROWS:
            raise UserError(
                f"{device} of {table.source} has {known.sum()} networks with {metric}; "
                f"a source device needs {_LEAST_ROWS}"
            )
        fits.append(_fit(encoded[known], column[known], table.space.num_decisions, pairs))
    scale, constant, tables, pair, outliers = (np.array([fit[i] for fit in fits]) for i in range(5))
    models = SourceModels(
        tuple(devices), scale, constant, tables, pairs,
        pair.reshape(len(fits), len(pairs)), outliers,
    )  # fmt: skip
    over = table.architectures if reference is None else reference
    mean = models.predict(one_hot(table.space, over)).mean(axis=0)
    return dataclasses.replace(
        models,
        scale=scale * mean,
        constant=constant / mean,
        table=tables / mean[:, None],
        pair=models.pair / mean[:, None],
    )


def _fit(encoded, costs, decisions, pairs):
    """Returns `(scale, constant, table, pair, outliers)` of one device."""
    scale = np.median(costs)
    targets = costs / scale - 1
    mean = encoded.mean(axis=0)
    additive = np.c_[np.full(len(encoded), _LEVEL), (encoded - mean) / np.sqrt(decisions)]
    weights = np.ones(len(encoded))
    best = _robust_ridge(additive, targets, weights, _ROUNDS)
    together, share = np.zeros((len(encoded), 0)), 0.0
    if len(pairs):
        raw = encoded[:, pairs[:, 0]] * encoded[:, pairs[:, 1]]
        middle = raw.mean(axis=0)
        together = (raw - middle) / np.sqrt(decisions * (decisions - 1) / 2)
        start = best
        for tried in _PAIR_SHARES:
            features = np.c_[additive, np.sqrt(tried) * together]
            found = _robust_ridge(features, targets, start[2], _PAIR_ROUNDS)
            if found[0] > best[0]:
                best, share = found, tried
    _, coefficients, weights = best
    count = additive.shape[1]
    table = coefficients[1:count] / np.sqrt(decisions)
    constant = 1 + _LEVEL * coefficients[0] - mean @ table
    pair = np.zeros(len(pairs))
    if share:
        pair = coefficients[count:] * np.sqrt(share / (decisions * (decisions - 1) / 2))
        constant -= middle @ pair
    return scale, constant, table, pair, int((weights < 0.25).sum())


def _robust_ridge(features, targets, weights, rounds):
    """Returns `(evidence, coefficients, weights)` of a ridge with Student-t noise.

    Coefficients have a unit normal prior; the noise's variance against theirs is the best of
    `_RIDGES`, their common scale is the likeliest. Each round weighs every network by how far
    off it was, which is expectation maximisation of a lower bound of the evidence.
    """
    count, width = features.shape
    shape = (FREEDOM + 1) / 2
    for _ in range(rounds):
        scaled = features * np.sqrt(weights)[:, None]
        wanted = targets * np.sqrt(weights)
        values, vectors = np.linalg.eigh(scaled.T @ scaled)
        values = np.maximum(values, 0.0)
        along = vectors.T @ (scaled.T @ wanted)
        noise = _RIDGES[:, None]
        left = (wanted @ wanted - (along**2 / (values + noise)).sum(axis=1)) / _RIDGES
        left = np.maximum(left, np.finfo(float).tiny)
        volume = (
            np.log(values + noise).sum(axis=1)
            + (count - width) * np.log(_RIDGES)
            - np.log(weights).sum()
        )
        evidences = -0.5 * (count * np.log(left / count) + volume)
        choice = int(np.argmax(evidences))
        ridge, scale = _RIDGES[choice], left[choice] / count
        inverse = (vectors / (values + ridge)) @ vectors.T
        coefficients = inverse @ (scaled.T @ wanted)
        spread = ((features @ inverse) * features).sum(axis=1) * scale * ridge
        missed = (targets - features @ coefficients) ** 2
        rate = (FREEDOM + (missed + spread) / (scale * ridge)) / 2
        weights = shape / rate
    evidence = evidences[choice] + weight_bound(weights, rate).sum()
    return evidence, coefficients, weights


def weight_bound(weights: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Returns what the unknown weights of Student-t noise add to a bound on the evidence.

    Each observation's precision is `w / noise` with `w ~ Gamma(v/2, v/2)`, `v` being `FREEDOM`,
    and its approximate posterior is `Gamma((v + 1)/2, rate)` with mean `weights`.
    """
    shape, prior = (FREEDOM + 1) / 2, FREEDOM / 2
    divergence = (
        (shape - prior) * scipy.special.digamma(shape)
        - scipy.special.gammaln(shape) + scipy.special.gammaln(prior)
        + prior * (np.log(rate) - np.log(prior))
        + shape * (prior - rate) / rate
    )  # fmt: skip
    return 0.5 * (scipy.special.digamma(shape) - np.log(rate) - np.log(weights)) - divergence
