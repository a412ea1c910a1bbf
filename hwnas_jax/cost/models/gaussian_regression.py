"""Gaussian regression on a sum of kernels, whose few variances are chosen by the evidence.

Legend: `N` observations, `J` parts of the kernel.

References: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006 (sections 2.2,
5.4 and 9.4); Lange, Little and Taylor, "Robust Statistical Modeling Using the t Distribution",
1989.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy

# Observations that the variances are chosen on. More of them say little new, and the time grows
# with the cube.
_SUBSET = 350
# With no more observations than this, the evidence may have several maxima.
_FEW = 100
_OFF = -9.0
_ROUNDS = 2
_REWEIGHTINGS = 5
_FREEDOMS = (math.inf, 4.0)
# No clock repeats itself more closely. It also keeps matrices well-conditioned.
_LEAST_NOISE = 1e-3
_LEAST_SHARE = 0.02
_COVERED, _COVERED_SIGMAS = 0.9, 1.6449
_WIDTH = 5.0
# Logarithms of variances before anything is seen. The higher the order, the smaller its effects.
_START = {"single": -2.0, "pair": -4.0, "triple": -5.0, "relations": -2.0}


def expected_logs(names: Sequence[str]) -> np.ndarray:
    """Returns the expected logarithms of the variances of a kernel's parts, `float64[J]`."""
    return np.array([_START.get(name.split()[-1], 0.0) for name in names])


@dataclasses.dataclass(frozen=True)
class Regression:
    """The posterior given observations, all in units of the mean observation.

    Attributes:
      variances: `float64[J]`, of the parts.
      relative: standard deviation of the noise as a share of the value.
      absolute: standard deviation of the noise that all values have.
      alpha: `float64[N]`, the weights of the observations in the posterior mean.
      precision: `float64[N, N]`, the inverse of kernel plus noise.
      spread: factor on standard deviations with which nine of ten observations lie within their
        interval when they are left out.
      freedom: degrees of freedom of the noise; infinite for normal noise.
    """

    variances: np.ndarray
    relative: float
    absolute: float
    alpha: np.ndarray
    precision: np.ndarray
    spread: float
    freedom: float

    def noise(self, mean: np.ndarray) -> np.ndarray:
        """Returns the variance of an observation whose mean is `mean`."""
        return (self.relative * mean) ** 2 + self.absolute**2


def regress(
    parts: np.ndarray, values: np.ndarray, *, names: Sequence[str], seed: int = 0
) -> Regression:
    """Fits the variances and returns the posterior.

    The noise grows with the value. The true value is unknown, so the posterior mean of a first
    round takes its place in a second. The noise is normal or Student's t, which suits devices that
    are much slower than usual now and then. The one that gives the higher density to the
    observations, each left out in turn, is chosen.

    Args:
      parts: `float64[J, N, N]`, between the observed.
      values: `float64[N]`, of mean one.
      names: of the parts. Each name has an expected variance, and the evidence is multiplied by a
        wide normal prior around these.
      seed: of the subset that the variances are chosen on.
    """
    centre = np.concatenate([expected_logs(names), np.log([0.05**2, 0.01**2])])
    begins = [centre]
    if len(values) <= _FEW:
        # Single decisions alone often explain everything, and the search then misses it.
        alone = [name == "constant" or name.endswith("single") for name in names]
        begins.append(np.where([*alone, True, True], centre, _OFF))
    found = []
    for freedom in _FREEDOMS:
        fit, score, logs = _fit(parts, values, centre, begins, seed, freedom)
        begins = [logs]
        found.append((score, fit))
    return max(found, key=lambda pair: pair[0])[1]


def _fit(
    parts: np.ndarray, values: np.ndarray, centre: np.ndarray, begins: list[np.ndarray],
    seed: int, freedom: float,
) -> tuple[Regression, float, np.ndarray]:  # fmt: skip
    """Returns the posterior under noise of this freedom.

    Returns:
      The regression, the log density of the observations when left out, and the logarithms of the
      variances.
    """
    count = len(values)
    rows = np.sort(np.random.default_rng(seed).permutation(count)[:_SUBSET])
    subset = np.ascontiguousarray(parts[:, rows][:, :, rows])
    mean, weight = np.maximum(values, _LEAST_SHARE), np.ones(count)
    for _ in range(_ROUNDS):
        reach = mean / np.sqrt(weight)
        logs = _maximise(subset, values[rows], reach[rows], weight[rows], begins, centre)
        begins = [logs]
        variances = np.exp(logs[:-2])
        relative, absolute = np.exp(logs[-2:] / 2)
        kernel = np.tensordot(variances, parts, 1)
        noise = (relative * mean) ** 2 + absolute**2
        for _ in range(1 if math.isinf(freedom) else _REWEIGHTINGS):
            own = noise / weight
            precision = inverse(kernel + np.diag(own))
            alpha = precision @ values
            known = own - own**2 * np.diag(precision)
            expected = ((own * alpha) ** 2 + known) / noise
            weight = _weights(expected, freedom)
        own = noise / weight
        precision = inverse(kernel + np.diag(own))
        alpha = precision @ values
        mean = np.maximum(kernel @ alpha, _LEAST_SHARE)
    error = alpha / np.diag(precision)
    deviation = np.sqrt(np.maximum(1 / np.diag(precision) - own, 0) + noise)
    # One more than the observations: the next one must be covered too.
    level = min(1.0, _COVERED * (count + 1) / count)
    spread = float(np.quantile(np.abs(error) / deviation, level)) / _COVERED_SIGMAS
    density = scipy.stats.norm if math.isinf(freedom) else scipy.stats.t(freedom)
    score = (density.logpdf(error / deviation) - np.log(deviation)).sum()
    fit = Regression(variances, float(relative), float(absolute), alpha, precision, spread, freedom)
    return fit, score, logs


def _weights(expected, freedom):
    """Returns the precision of each observation's noise, given its expected squared size."""
    if math.isinf(freedom):
        return np.ones(len(expected))
    return (freedom + 1) / (freedom + expected)


def inverse(matrix: np.ndarray) -> np.ndarray:
    """Returns the inverse of a positive definite matrix."""
    factor = scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
    return _inverse_of(factor)


def _inverse_of(factor):
    found, _ = scipy.linalg.lapack.dpotri(factor, lower=1)
    return np.tril(found) + np.tril(found, -1).T


def _maximise(
    parts: np.ndarray, values: np.ndarray, mean: np.ndarray, weight: np.ndarray,
    begins: list[np.ndarray], centre: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Returns the logarithms of the variances with the greatest evidence found from `begins`."""
    bounds = [(low - 12, low + 8) for low in centre]
    for noise in (-2, -1):
        bounds[noise] = (2 * math.log(_LEAST_NOISE), bounds[noise][1])
    found = [
        scipy.optimize.minimize(
            lambda logs: negative_log_evidence(logs, parts, values, mean, weight, centre),
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": 40},
        )
        for start in begins
    ]
    return min(found, key=lambda each: each.fun).x


def negative_log_evidence(
    logs: np.ndarray,
    parts: np.ndarray,
    values: np.ndarray,
    mean: np.ndarray,
    weight: np.ndarray,
    centre: np.ndarray,
) -> tuple[float, np.ndarray]:
    """Returns minus the log of evidence times prior, up to a constant, and its gradient.

    Args:
      logs: `float64[J + 2]`, logarithms of the parts' variances, and of the relative and the
        absolute noise's.
      parts: `float64[J, N, N]`.
      values: `float64[N]`.
      mean: `float64[N]`, what the relative noise is relative to.
      weight: `float64[N]`, what divides the variance of the absolute noise.
      centre: `float64[J + 2]`, the mean of the prior of `logs`.
    """
    variances = np.exp(logs)
    matrix = np.tensordot(variances[:-2], parts, 1)
    relative, absolute = variances[-2] * mean**2, variances[-1] / weight
    matrix[np.diag_indices_from(matrix)] += relative + absolute
    factor = scipy.linalg.cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
    log_determinant = 2 * np.log(np.diag(factor)).sum()
    alpha = scipy.linalg.cho_solve((factor, True), values, check_finite=False)
    slope = _inverse_of(factor) - np.outer(alpha, alpha)
    along = np.diag(slope)
    by_noise = [(along * relative).sum(), (along * absolute).sum()]
    gradient = np.concatenate([variances[:-2] * np.tensordot(parts, slope, 2), by_noise]) / 2
    away = (logs - centre) / _WIDTH
    value = 0.5 * (values @ alpha + log_determinant + away @ away)
    return float(value), gradient + away / _WIDTH
