"""The hardware term against enumeration and closed forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hwnas_jax.search.objective import Target, ascend, expected_cost, lagrangian

MASK = np.array([[True, True, True], [True, True, False], [True, True, True]])
LOGITS = jnp.array([[0.3, -1.0, 2.0], [0.5, 0.1, 0.0], [0.0, 0.4, -0.3]])
TABLE = jnp.array([[0.1, 0.5, 1.0], [0.2, 0.9, 9.0], [0.4, 0.0, 0.7]])
ERRORS = np.array([[0.3, 0.1, 0.2], [0.5, 0.4, 9.0], [0.1, 0.6, 0.2]])


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Toy:
    """Additive, plus a product of two decisions: multilinear, so exact at soft gates too."""

    exact_expectation: bool = True

    name, metrics = "toy", ("latency_ms",)

    def predict(self, weight):
        both = weight[0, 2] * weight[2, 1]
        return {"latency_ms": 1.0 + (weight * TABLE).sum() + 2.0 * both}

    def std(self, weight):
        """Of a weighted sum of independent errors: they cancel at soft gates."""
        return {"latency_ms": jnp.sqrt(((weight * ERRORS) ** 2).sum())}


@jax.tree_util.register_static
class Curved:
    """An exponential of the table: not the expectation at soft gates."""

    name, metrics = "curved", ("latency_ms",)

    def predict(self, weight):
        return {"latency_ms": jnp.exp((weight * TABLE).sum())}

    def std(self, weight):
        return {"latency_ms": 0.0 * weight.sum()}


def enumerated(function, logits=LOGITS):
    """The mean of `function(i, j, k)` over independent draws, and its gradient by differences."""

    def mean(logits):
        masked = np.where(MASK, np.asarray(logits, float), -np.inf)
        share = np.exp(masked) / np.exp(masked).sum(-1, keepdims=True)
        return sum(
            share[0, i] * share[1, j] * share[2, k] * function(i, j, k)
            for i in range(3) for j in range(2) for k in range(3)
        )  # fmt: skip

    logits = np.asarray(logits, float)
    step, gradient = 1e-4, np.zeros((3, 3))
    for place in zip(*np.nonzero(MASK), strict=True):
        bump = np.zeros((3, 3))
        bump[place] = step
        gradient[place] = (mean(logits + bump) - mean(logits - bump)) / (2 * step)
    return mean(logits), gradient


def table_sum(i, j, k):
    return float(TABLE[0, i]) + float(TABLE[1, j]) + float(TABLE[2, k])


def toy_cost(i, j, k):
    return 1.0 + table_sum(i, j, k) + 2.0 * (i == 2 and k == 1)


def toy_std(i, j, k):
    return np.sqrt(ERRORS[0, i] ** 2 + ERRORS[1, j] ** 2 + ERRORS[2, k] ** 2)


def found(model, samples, seed=0, **options):
    value, gradient = jax.jit(
        jax.value_and_grad(
            lambda logits: expected_cost(
                model, "latency_ms", jax.random.key(seed), logits, MASK, samples, **options
            )
        )
    )(LOGITS)
    return float(value), np.asarray(gradient)


def check(got, wanted, tolerance):
    assert got[0] == pytest.approx(wanted[0], rel=tolerance)
    np.testing.assert_allclose(got[1], wanted[1], atol=tolerance * np.abs(wanted[1]).max())


def test_an_exact_model_is_asked_once_and_without_noise():
    check(found(Toy(), samples=1), enumerated(toy_cost), 1e-4)
    assert found(Toy(), samples=1, seed=0)[0] == found(Toy(), samples=1, seed=1)[0]


@pytest.mark.parametrize(
    ("model", "cost"),
    [(Curved(), lambda *a: np.exp(table_sum(*a))), (Toy(exact_expectation=False), toy_cost)],
)
def test_draws_give_the_enumerated_mean_and_its_gradient(model, cost):
    check(found(model, samples=20_000), enumerated(cost), 0.01)


def test_soft_gates_of_a_curved_model_are_not_its_expectation():
    """Else sampling would prove nothing."""
    share = np.asarray(jax.nn.softmax(jnp.where(MASK, LOGITS, -1e9), -1))
    soft = float(Curved().predict(share)["latency_ms"])
    assert soft < 0.95 * enumerated(lambda *a: np.exp(table_sum(*a)))[0]


@pytest.mark.parametrize("exact", [True, False])
def test_the_bound_is_the_mean_of_the_bounds_of_architectures(exact):
    z = Target("latency_ms", 1.0, 0.9).deviations
    assert z == pytest.approx(1.2815516, rel=1e-6)
    wanted = enumerated(lambda *a: toy_cost(*a) + z * toy_std(*a))
    check(found(Toy(exact_expectation=exact), samples=20_000, deviations=z), wanted, 0.01)
    share = jax.nn.softmax(jnp.where(MASK, LOGITS, -1e9), -1)
    soft = float(Toy().std(share)["latency_ms"])
    assert soft < 0.8 * enumerated(toy_std)[0], "at soft gates the errors cancel"


def test_few_draws_are_unbiased():
    """The mean over many keys of two draws each, within four standard errors."""
    keys = jax.random.split(jax.random.key(5), 2000)
    both = jax.vmap(
        jax.value_and_grad(
            lambda logits, key: expected_cost(Curved(), "latency_ms", key, logits, MASK, 2)
        ),
        (None, 0),
    )(LOGITS, keys)
    wanted = enumerated(lambda *a: np.exp(table_sum(*a)))
    for estimates, exact in zip(both, wanted, strict=True):
        error = np.asarray(estimates).std(0) / np.sqrt(len(keys))
        assert (np.abs(np.asarray(estimates).mean(0) - exact) <= 4 * error + 1e-4).all()


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
