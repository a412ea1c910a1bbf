"""Gaussian regression on a sum of kernels, its few variances chosen by the evidence.

Legend: `N` observations, `J` parts of the kernel.

References: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006 (sections 5.4
and 2.2); MacKay, "Bayesian Interpolation", 1992.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import linalg, optimize

_JITTER = 1e-9
# Observations that the variances are chosen on: more cost time with the cube and say little new.
_SUBSET = 450
_ROUNDS = 2
_LEAST_SHARE = 0.02
_COVERED, _COVERED_SIGMAS = 0.9, 1.6449


@dataclasses.dataclass(frozen=True)
class Regression:
    """The posterior given observations, all in units of the mean observation.

    Attributes:
      variances: `float64[J]`, of the parts.
      relative: standard deviation of the noise as a share of the value.
      absolute: standard deviation of the noise that all values have.
      alpha: `float64[N]`, the weights of the observations in the posterior mean.
      precision: `float64[N, N]`, the inverse of kernel plus noise.
      spread: what standard deviations are multiplied by so that nine of ten observations lie
        within their interval when left out.
    """

    variances: np.ndarray
    relative: float
    absolute: float
    alpha: np.ndarray
    precision: np.ndarray
    spread: float

    def noise(self, mean: np.ndarray) -> np.ndarray:
        """Returns the variance of an observation whose mean is `mean`."""
        return (self.relative * mean) ** 2 + self.absolute**2


def regress(
    parts: np.ndarray, values: np.ndarray, *, start: np.ndarray, seed: int = 0
) -> Regression:
    """Fits the variances and returns the posterior.

    The noise grows with the value, so its variance takes the posterior mean for the true value,
    found in two rounds.

    Args:
      parts: `float64[J, N, N]`, between the observed.
      values: `float64[N]`, of mean one.
      start: `float64[J]`, the logarithms of the parts' variances before anything is seen; the
        evidence is multiplied by a wide normal prior around them.
      seed: of the subset that the variances are chosen on.
    """
    count = len(values)
    rows = np.sort(np.random.default_rng(seed).permutation(count)[:_SUBSET])
    subset = np.ascontiguousarray(parts[:, rows][:, :, rows])
    centre = np.concatenate([start, np.log([0.05**2, 0.01**2])])
    logs, mean = centre, np.maximum(values, _LEAST_SHARE)
    for _ in range(_ROUNDS):
        logs = _maximise(subset, values[rows], mean[rows], logs, centre)
        variances, relative, absolute = np.exp(logs[:-2]), *np.exp(logs[-2:] / 2)
        kernel = np.tensordot(variances, parts, 1)
        noise = (relative * mean) ** 2 + absolute**2 + _JITTER
        precision = _inverse(kernel + np.diag(noise))
        alpha = precision @ values
        mean = np.maximum(kernel @ alpha, _LEAST_SHARE)
    left_out = np.abs(alpha) / np.sqrt(np.diag(precision))
    spread = float(np.quantile(left_out, _COVERED)) / _COVERED_SIGMAS
    return Regression(variances, float(relative), float(absolute), alpha, precision, spread)


def _inverse(matrix: np.ndarray) -> np.ndarray:
    factor = linalg.cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
    inverse, _ = linalg.lapack.dpotri(factor, lower=1)
    lower = np.tril(inverse)
    return lower + np.tril(lower, -1).T


def _maximise(parts, values, mean, logs, centre):
    bounds = [(low - 12, low + 8) for low in centre]
    found = optimize.minimize(
        lambda logs: negative_log_evidence(logs, parts, values, mean, centre), logs,
        jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40},
    )  # fmt: skip
    return found.x


_WIDTH = 5.0


def negative_log_evidence(
    logs: np.ndarray,
    parts: np.ndarray,
    values: np.ndarray,
    mean: np.ndarray,
    centre: np.ndarray,
) -> tuple[float, np.ndarray]:
    """Returns minus the log of evidence times prior, up to a constant, and its gradient.

    Args:
      logs: `float64[J + 2]`, logarithms of the parts' variances, and of the relative and the
        absolute noise's.
      parts: `float64[J, N, N]`.
      values: `float64[N]`.
      mean: `float64[N]`, what the relative noise is relative to.
      centre: `float64[J + 2]`, the mean of the prior of `logs`.
    """
    variances = np.exp(logs)
    matrix = np.tensordot(variances[:-2], parts, 1)
    relative, absolute = variances[-2] * mean**2, np.full(len(mean), variances[-1])
    matrix[np.diag_indices_from(matrix)] += relative + absolute + _JITTER
    factor = linalg.cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
    log_determinant = 2 * np.log(np.diag(factor)).sum()
    alpha = linalg.cho_solve((factor, True), values, check_finite=False)
    inverse, _ = linalg.lapack.dpotri(factor, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    slope = inverse - np.outer(alpha, alpha)
    along = np.diag(slope)
    gradient = 0.5 * np.concatenate(
        [
            variances[:-2] * np.tensordot(parts, slope, 2),
            [(along * relative).sum(), (along * absolute).sum()],
        ]
    )
    away = (logs - centre) / _WIDTH
    value = 0.5 * (values @ alpha + log_determinant + away @ away)
    return float(value), gradient + away / _WIDTH


Parts = Callable[[np.ndarray, np.ndarray], np.ndarray]
