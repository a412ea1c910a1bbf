"""The hardware term against enumeration and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.search.objective import ascend, expected_cost, lagrangian

MASK = np.array([[True, True, True], [True, True, False], [True, True, True]])
LOGITS = jnp.array([[0.3, -1.0, 2.0], [0.5, 0.1, 0.0], [0.0, 0.4, -0.3]])
TABLE = jnp.array([[0.1, 0.5, 1.0], [0.2, 0.9, 9.0], [0.4, 0.0, 0.7]])


@jax.tree_util.register_static
class Toy:
    """Additive, plus a product of two decisions: multilinear, so the mean can be enumerated."""

    name, metrics = "toy", ("latency_ms",)

    def predict(self, weight):
        both = weight[0, 2] * weight[2, 1]
        return {"latency_ms": 1.0 + (weight * TABLE).sum() + 2.0 * both}


def enumerated_mean(logits):
    masked = np.where(MASK, np.asarray(logits, float), -np.inf)
    share = np.exp(masked) / np.exp(masked).sum(-1, keepdims=True)
    total = 0.0
    for i in range(3):
        for j in range(2):
            for k in range(3):
                cost = 1.0 + float(TABLE[0, i] + TABLE[1, j] + TABLE[2, k])
                cost += 2.0 * (i == 2 and k == 1)
                total += share[0, i] * share[1, j] * share[2, k] * cost
    return total


@pytest.mark.parametrize("temperature", [0.3, 3.0])
def test_expected_cost_is_the_enumerated_mean(temperature):
    found = expected_cost(
        Toy(), "latency_ms", jax.random.key(0), LOGITS, MASK, temperature, samples=40_000
    )
    assert float(found) == pytest.approx(enumerated_mean(LOGITS), rel=0.01)


def test_gradient_of_the_expected_cost_points_where_enumeration_says():
    """Straight-through is biased by design; it must still point the same way."""
    step = 1e-3
    exact = np.zeros((3, 3))
    for i, j in zip(*np.nonzero(MASK), strict=True):
        bump = np.zeros((3, 3))
        bump[i, j] = step
        exact[i, j] = (enumerated_mean(LOGITS + bump) - enumerated_mean(LOGITS - bump)) / (2 * step)
    found = jax.grad(
        lambda logits: expected_cost(
            Toy(), "latency_ms", jax.random.key(1), logits, MASK, 1.0, samples=20_000
        )
    )(LOGITS)
    found = np.where(MASK, found, 0.0)
    cosine = (exact * found).sum() / np.linalg.norm(exact) / np.linalg.norm(found)
    assert cosine > 0.95


def test_lagrangian_and_ascent():
    total = lagrangian(jnp.array(2.0), jnp.array(0.5), jnp.array(3.0), 4.0)
    assert float(total) == pytest.approx(2.0 + 1.5 + 0.5 * 4.0 * 0.25)
    assert float(ascend(jnp.array(1.0), jnp.array(-0.5), 0.1)) == pytest.approx(0.95)


def test_dual_ascent_meets_a_target_between_the_options():
    """Minimise -x (more is better) under a cost of x, by gradient: the target is met."""

    def one(_, pair):
        x, multiplier = pair
        x = x - 0.02 * jax.grad(lambda v: lagrangian(-v, v / 0.7 - 1.0, multiplier, 4.0))(x)
        return x, ascend(multiplier, x / 0.7 - 1.0, 0.02)

    x, multiplier = jax.lax.fori_loop(0, 3000, one, (jnp.array(0.0), jnp.array(0.0)))
    assert float(x) == pytest.approx(0.7, rel=1e-3)
    assert float(multiplier) == pytest.approx(0.7, rel=1e-2)
