import jax
import numpy as np
import pytest

from hwnas_jax.cost.models.multilinear import (
    expectation,
    expectation_float64,
    is_enumerable,
    tabulate,
)
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
    assert float(expectation(table.astype(np.float32), weight.astype(np.float32))) == pytest.approx(
        total, rel=1e-6
    )
    mean, gradient = expectation_float64(table, weight)
    assert mean == pytest.approx(total, rel=1e-14)
    for d, k in np.ndindex(4, 3):
        fixed = weight.copy()
        fixed[d] = np.eye(3)[k]
        assert gradient[d, k] == pytest.approx(expectation_float64(table, fixed)[0], rel=1e-12)


def test_it_differentiates_and_is_the_table_on_architectures():
    table, weight = _table_and_weight(1)
    gradient = jax.grad(lambda w: expectation(table.astype(np.float32), w))(
        weight.astype(np.float32)
    )
    np.testing.assert_allclose(gradient, expectation_float64(table, weight)[1], rtol=1e-5)
    hard = np.eye(3, dtype=np.float32)[[2, 0, 1, 1]]
    assert float(expectation(table, hard)) == pytest.approx(table[2, 0, 1, 1])


def test_a_table_holds_every_architecture_where_it_belongs():
    space = ToySpace()
    table = tabulate(space, lambda rows: np.array([law_ms(space, row) for row in rows]))
    assert table.shape == (3,) * 5
    for row in space.enumerate()[::17]:
        assert table[tuple(row)] == law_ms(space, row)
    assert table[..., 2].sum() == 0


def test_which_spaces_are_small_enough():
    assert is_enumerable(ToySpace())
    assert is_enumerable(nasbench201())
    assert not is_enumerable(fbnet())
