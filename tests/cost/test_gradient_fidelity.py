import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.cost.judge.gradient_fidelity import (
    complete_table,
    cosine,
    measure_fidelity,
    shuffled_errors,
)
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.cost.models.multilinear import tabulate
from tests.cost.toy import ToySpace, law_ms

SPACE = ToySpace()


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Additive(CostModel):
    """Latency as a table's sum to a power; at power one the multilinear extension of itself."""

    power: float = 1.0
    sign: float = 1.0

    name, metrics = "additive", ("latency_ms",)

    def predict(self, weight):
        table = jnp.arange(1.0, 16.0).reshape(5, 3)
        return {"latency_ms": 20 + self.sign * ((weight * table).sum() / 10) ** self.power}


def _truth(rows):
    table = np.arange(1.0, 16.0).reshape(5, 3)
    return 20 + table[np.arange(5), rows].sum(axis=1) / 10


def _measure(model, table, draws=20):
    found = measure_fidelity(model, SPACE, table, "latency_ms", draws=draws)
    assert [row.temperature for row in found] == [5.0, 2.0, 1.0, 0.5, 0.1]
    return found


def test_a_model_that_is_the_truth_has_no_error():
    for row in _measure(Additive(), tabulate(SPACE, _truth)):
        for cosines in (row.by_logits, row.by_gates, row.ceiling):
            np.testing.assert_allclose(cosines, 1, atol=1e-4)
        assert max(row.gap.max(), row.error.max()) < 1e-5


def test_the_opposite_gradient_is_minus_one():
    for row in _measure(Additive(sign=-1.0), tabulate(SPACE, _truth)):
        np.testing.assert_allclose(row.by_logits, -1, atol=1e-4)
        np.testing.assert_allclose(row.by_gates, -1, atol=1e-4)
        assert row.gap.max() < 1e-5
        assert row.error.min() > 0.01


def test_a_convex_model_falls_short_of_its_own_mean():
    """Jensen: a convex function of the gates lies below the mean of it at architectures."""
    model = Additive(power=3.0)
    found = _measure(model, tabulate(SPACE, _truth))
    assert found[0].gap.mean() > 3e-3
    assert found[0].gap.mean() > 2 * found[-1].gap.mean()


def test_gradients_by_logits_are_those_of_the_chain_rule():
    table = tabulate(SPACE, lambda rows: np.array([law_ms(SPACE, row) for row in rows]))
    row = _measure(Additive(), table)[2]
    logits = np.random.default_rng(0).standard_normal((20, 5, 3)).astype(np.float32)
    rows = SPACE.enumerate()

    def exact(logit):
        weight = jax.nn.softmax(jnp.where(SPACE.mask, logit, -jnp.inf))
        return weight[jnp.arange(5), rows].prod(axis=1) @ table[tuple(rows.T)]

    def own(logit):
        return Additive().predict(jax.nn.softmax(jnp.where(SPACE.mask, logit, -jnp.inf)))[
            "latency_ms"
        ]

    expected = [cosine(jax.grad(own)(one), jax.grad(exact)(one)) for one in logits]
    np.testing.assert_allclose(row.by_logits, expected, atol=1e-4)


def test_noise_bounds_what_can_be_reached():
    """The cosine with a noisy table is the ceiling, on average over tables."""
    cosines = []
    for seed in range(20):
        noise = np.exp(0.01 * np.random.default_rng(seed).standard_normal(SPACE.size))
        noisy = tabulate(SPACE, lambda rows, noise=noise: _truth(rows) * noise)
        found = measure_fidelity(Additive(), SPACE, noisy, "latency_ms", draws=50, seed=seed)
        cosines.append([(row.by_logits.mean(), row.ceiling.mean()) for row in found])
    reached, ceiling = np.mean(cosines, axis=0).T
    np.testing.assert_allclose(reached, ceiling, atol=0.06)
    assert ceiling[-1] < 0.85
    assert ceiling[0] > 0.95


def test_errors_of_what_is_cheap_are_not_laid_on_what_is_dear():
    """Of cells that hardly compute, predictions may be wrong by a factor of hundreds."""
    rows = SPACE.enumerate()
    costs = _truth(rows)
    wrong = costs < np.sort(costs)[20]
    own = tabulate(SPACE, _truth)
    table = tabulate(SPACE, lambda _: np.where(wrong, 300 * costs, costs))
    moved = shuffled_errors(own, table, rows, np.random.default_rng(0)) > 2 * costs
    assert moved.sum() == wrong.sum() > 10
    assert (moved != wrong).any()
    assert costs[moved].max() < np.median(costs)


def test_cosines_and_tables_with_holes():
    assert cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(2**-0.5)
    assert cosine(np.zeros(2), np.zeros(2)) == 1
    assert cosine(np.zeros(2), np.ones(2)) == 0
    rows = SPACE.enumerate()
    with pytest.raises(ValueError, match="lacks architectures of toy"):
        complete_table(SPACE, rows[1:], _truth(rows[1:]))
    np.testing.assert_array_equal(
        complete_table(SPACE, rows, _truth(rows)), tabulate(SPACE, _truth)
    )
