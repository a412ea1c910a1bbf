import jax
import numpy as np
import pytest

from hwnas_jax.cost.models.base import as_drawn
from hwnas_jax.cost.models.multilinear import (
    expectation,
    expectation_float64,
    is_enumerable,
    probabilities,
    tabulate,
)
from hwnas_jax.spaces.base import Forms
from hwnas_jax.spaces.core.published import fbnet, nasbench201
from tests.cost.toy import ToySpace, law_ms


def _table_and_weight(seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((3,) * 4), rng.dirichlet(np.ones(3), 4)


def test_the_expectation_is_a_sum_over_all_architectures():
    table, weight = _table_and_weight()
    total = 0.0
    for place in np.ndindex(table.shape):
        total += table[place] * np.prod([weight[d, k] for d, k in enumerate(place)])
    assert float(
        expectation(table.astype(np.float32), as_drawn(weight.astype(np.float32)))
    ) == pytest.approx(total, rel=1e-6)
    mean, gradient = expectation_float64(table, weight)
    assert mean == pytest.approx(total, rel=1e-14)
    for d, k in np.ndindex(4, 3):
        fixed = weight.copy()
        fixed[d] = np.eye(3)[k]
        assert gradient[d, k] == pytest.approx(expectation_float64(table, fixed)[0], rel=1e-12)


def test_it_differentiates_and_is_the_table_on_architectures():
    table, weight = _table_and_weight(1)
    gradient = jax.grad(lambda w: expectation(table.astype(np.float32), as_drawn(w)))(
        weight.astype(np.float32)
    )
    np.testing.assert_allclose(gradient, expectation_float64(table, weight)[1], rtol=1e-5)
    hard = np.eye(3, dtype=np.float32)[[2, 0, 1, 1]]
    assert float(expectation(table, as_drawn(hard))) == pytest.approx(table[2, 0, 1, 1])


def test_a_table_holds_every_architecture_where_it_belongs():
    space = ToySpace()
    table = tabulate(space, lambda rows: np.array([law_ms(space, row) for row in rows]))
    assert table.shape == (3,) * 5
    for row in space.enumerate()[::17]:
        assert table[tuple(row)] == law_ms(space, row)
    assert table[..., 2].sum() == 0


def _mixture(seed=2):
    """Two groups of decisions in an odd order: one drawn, one a mixture of forms with mass."""
    rng = np.random.default_rng(seed)
    drawn = rng.dirichlet(np.ones(3), 1)[None]
    rows = rng.dirichlet(np.ones(3), (2, 3))
    rows[1, 1] *= 0.5  # half of what this form stands for is elsewhere
    coefficient = np.array([0.4, 1.2])
    groups = ((np.array([2]), np.ones(1), drawn), (np.array([3, 0, 1]), coefficient, rows))
    return tuple(Forms(d, c.astype(np.float32), r.astype(np.float32)) for d, c, r in groups)


def _by_hand(forms, table):
    total = 0.0
    for place in np.ndindex(table.shape):
        chance = 1.0
        for decisions, coefficient, rows in forms:
            options = [place[d] for d in decisions]
            each = rows[:, np.arange(len(decisions)), options].astype(float).prod(axis=1)
            chance *= float(coefficient @ each)
        total += chance * table[place]
    return total


def test_the_expectation_over_mixtures_is_a_sum_over_all_architectures():
    table, forms = _table_and_weight(3)[0].astype(np.float32), _mixture()
    assert float(expectation(table, forms)) == pytest.approx(_by_hand(forms, table), rel=1e-5)


def test_how_probable_conditions_are_is_a_sum_over_all_architectures():
    forms, always = _mixture(), 12
    conditions = np.array([[0, 4], [2, always], [9, 5], [always, always], [7, 10]], np.int32)
    found = probabilities(conditions, forms, (4, 3))
    for row, chance in zip(conditions, found, strict=True):
        holds = np.ones((3,) * 4)
        for place in np.ndindex(holds.shape):
            holds[place] = all(c == always or place[c // 3] == c % 3 for c in row)
        assert float(chance) == pytest.approx(_by_hand(forms, holds), rel=1e-5)


def test_which_spaces_are_small_enough():
    assert is_enumerable(ToySpace())
    assert is_enumerable(nasbench201())
    assert not is_enumerable(fbnet())
