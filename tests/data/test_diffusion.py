"""The solver of Darcy flow against solutions that are known, and against a direct solver."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

from hwnas_jax.data.physics.diffusion import solve_diffusion
from hwnas_jax.data.physics.random_fields import random_fields


def direct(coefficient, force):
    """Solves one problem by sparse elimination; equations are written point by point."""
    size = len(coefficient)
    inner = [(i, j) for i in range(1, size - 1) for j in range(1, size - 1)]
    number = {place: index for index, place in enumerate(inner)}
    matrix = scipy.sparse.lil_matrix((len(inner), len(inner)))
    for (i, j), row in number.items():
        for other in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            flow = 1 / (0.5 / coefficient[i, j] + 0.5 / coefficient[other])
            matrix[row, row] += flow * (size - 1) ** 2
            if other in number:
                matrix[row, number[other]] -= flow * (size - 1) ** 2
    solution = np.zeros((size, size))
    found = scipy.sparse.linalg.spsolve(matrix.tocsc(), [force[place] for place in inner])
    solution[1:-1, 1:-1] = found.reshape(size - 2, size - 2)
    return solution


def media(count, size, high, seed=0):
    field = random_fields(np.random.default_rng(seed), count, size, modes=16, tau=3.0, alpha=2.0)
    return np.where(field >= 0, high, 1.0)


@pytest.mark.parametrize("high", [4.0, 200.0])
def test_it_solves_the_same_equations_as_a_direct_solver(high):
    medium = media(2, 17, high)
    force = np.random.default_rng(1).normal(1.0, 0.5, medium.shape)
    found = solve_diffusion(jnp.float32(medium), jnp.float32(force))
    assert found.error.max() <= 1e-6
    for one, values in zip(range(2), np.asarray(found.values), strict=True):
        expected = direct(medium[one], force[one])
        np.testing.assert_allclose(values, expected, atol=2e-5 * np.abs(expected).max())


def manufactured(size):
    """Returns a, f and u of a smooth problem, worked out by hand."""
    x, y = np.meshgrid(*[np.linspace(0, 1, size)] * 2, indexing="ij")
    pi, sin, cos = np.pi, np.sin, np.cos
    u = sin(pi * x) * sin(2 * pi * y)
    a = 1 + x + y**2
    along, across = pi * cos(pi * x) * sin(2 * pi * y), 2 * pi * sin(pi * x) * cos(2 * pi * y)
    return a, -(along + 2 * y * across - 5 * pi**2 * a * u), u


def test_the_error_falls_by_four_when_the_grid_is_halved():
    errors = []
    for size in (17, 33, 65):
        a, f, u = manufactured(size)
        found = solve_diffusion(jnp.float32([a, a]), jnp.float32([f, f]))
        errors.append(np.sqrt(np.square(np.asarray(found.values)[0] - u).mean()))
    ratios = np.array(errors[:-1]) / np.array(errors[1:])
    np.testing.assert_allclose(ratios, 4.0, rtol=0.03)


def test_a_square_membrane_rises_as_high_as_its_series_says():
    """Of the torsion problem, `a = f = 1`, the height in the middle is known."""
    odd = np.arange(1, 200, 2)
    sign = np.where(odd // 2 % 2 == 0, 1.0, -1.0)
    series = 16 / np.pi**4 * (
        np.outer(sign / odd, sign / odd) / (odd[:, None] ** 2 + odd**2)
    ).sum()  # fmt: skip
    one = jnp.ones((2, 65, 65))
    middle = float(solve_diffusion(one, one).values[0, 32, 32])
    assert middle == pytest.approx(series, rel=5e-4)


def test_steps_do_not_grow_with_the_grid():
    steps = {
        size: int(
            solve_diffusion(jnp.float32(media(1, size, 4.0)), jnp.ones((1, size, size))).steps
        )
        for size in (17, 65)
    }
    assert max(steps.values()) <= 16


def test_a_problem_that_is_solved_waits_for_the_others():
    medium = np.stack([np.ones((17, 17)), media(1, 17, 200.0, seed=2)[0]])
    both = solve_diffusion(jnp.float32(medium), jnp.ones((2, 17, 17)))
    alone = solve_diffusion(jnp.float32(medium[[0, 0]]), jnp.ones((2, 17, 17)))
    assert int(alone.steps) < int(both.steps)
    np.testing.assert_allclose(both.values[0], alone.values[0], atol=1e-7)
    limited = solve_diffusion(jnp.float32(medium), jnp.ones((2, 17, 17)), most_steps=3)
    assert limited.steps == 3
    assert limited.error[1] > 1e-3


def test_fields_have_the_covariance_they_say():
    """Sums over the eigenfunctions of the Laplacian, cosines with zero slope at the boundary."""
    modes, tau, alpha = 6, 2.0, 1.5
    fields = random_fields(
        np.random.default_rng(0), 20_000, 5, modes=modes, tau=tau, alpha=alpha
    )  # fmt: skip
    point, other = (0.25, 0.5), (0.75, 1.0)
    expected = 0.0
    for k in range(modes):
        for m in range(modes):
            if k == m == 0:
                continue
            size = tau ** (2 * alpha - 2) * (np.pi**2 * (k**2 + m**2) + tau**2) ** -alpha
            norm = (2 if k else 1) * (2 if m else 1)
            wave = [np.cos(np.pi * k * x) * np.cos(np.pi * m * y) for x, y in (point, other)]
            expected += size * norm * wave[0] * wave[1]
    found = (fields[:, 1, 2] * fields[:, 3, 4]).mean()
    spread = (fields[:, 1, 2] * fields[:, 3, 4]).std() / np.sqrt(20_000)
    assert abs(found - expected) < 4 * spread
    assert abs(expected) > 4 * spread


def test_every_grid_shows_the_same_fields():
    coarse, fine = (
        random_fields(np.random.default_rng(3), 2, size, modes=8, tau=3.0, alpha=2.0)
        for size in (9, 33)
    )
    np.testing.assert_allclose(fine[:, ::4, ::4], coarse, atol=1e-12)
