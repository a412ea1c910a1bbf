"""Gaussian random fields on the unit square.

Legend: `N` fields, `S` points along a side.
"""

import numpy as np


def random_fields(
    rng: np.random.Generator, count: int, size: int, *, modes: int, tau: float, alpha: float
) -> np.ndarray:
    """Draws fields with the covariance `(-Laplacian + tau^2)^-alpha`, zero slope at the boundary.

    A field is a sum of cosines with normal amplitudes, without the constant one. A grid of any size
    shows the same fields, if they are drawn by the same numbers.

    Args:
      rng: of the amplitudes.
      count: `N`.
      size: `S`; the points of the boundary are among them.
      modes: number of cosines along a side, that of the constant included.
      tau: beneath this wave number all waves are about as high.
      alpha: how fast the amplitudes of faster waves fall.

    Returns:
      `float64[N, S, S]`.

    References: Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations",
    ICLR 2021, whose Darcy flow has tau 3 and alpha 2.
    """
    number = np.arange(modes)
    basis = np.cos(np.pi * np.linspace(0, 1, size)[:, None] * number)
    basis[:, 1:] *= np.sqrt(2)
    wave = np.pi**2 * (number[:, None] ** 2 + number**2)
    amplitude = tau ** (alpha - 1) * (wave + tau**2) ** (-alpha / 2)
    amplitude[0, 0] = 0
    drawn = amplitude * rng.standard_normal((count, modes, modes))
    return basis @ drawn @ basis.T
