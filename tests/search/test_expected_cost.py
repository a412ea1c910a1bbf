"""Expected costs against enumeration."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.budgets.target import Target
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.relax import softmax_probabilities
from hwnas_jax.search.expected_cost import expectation, expected_costs

MASK = np.array([[True, True, True], [True, True, False], [True, True, True]])
LOGITS = jnp.array([[0.3, -1.0, 2.0], [0.5, 0.1, 0.0], [0.0, 0.4, -0.3]])
TABLE = jnp.array([[0.1, 0.5, 1.0], [0.2, 0.9, 9.0], [0.4, 0.0, 0.7]])
ERRORS = np.array([[0.3, 0.1, 0.2], [0.5, 0.4, 9.0], [0.1, 0.6, 0.2]])


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Toy(CostModel):
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
class Curved(CostModel):
    """An exponential of the table: not the expectation at soft gates."""

    name, metrics = "curved", ("latency_ms",)

    def predict(self, weight):
        return {"latency_ms": jnp.exp((weight * TABLE).sum())}


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
    def mean(logits):
        share = softmax_probabilities(logits, MASK)
        key = jax.random.key(seed)
        return expected_costs(model, ("latency_ms",), key, share, samples, **options)["latency_ms"]

    value, gradient = jax.jit(jax.value_and_grad(mean))(LOGITS)
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

    def mean(logits, key):
        share = softmax_probabilities(logits, MASK)
        return expectation(lambda w: Curved().predict(w)["latency_ms"], key, share, 2)

    keys = jax.random.split(jax.random.key(5), 2000)
    both = jax.jit(jax.vmap(jax.value_and_grad(mean), (None, 0)))(LOGITS, keys)
    wanted = enumerated(lambda *a: np.exp(table_sum(*a)))
    for estimates, exact in zip(both, wanted, strict=True):
        error = np.asarray(estimates).std(0) / np.sqrt(len(keys))
        assert (np.abs(np.asarray(estimates).mean(0) - exact) <= 4 * error + 1e-4).all()


def test_options_of_no_probability_are_not_drawn_and_cost_nothing():
    """A relaxation may give an option a probability of zero; its cost may then be anything."""
    share = jnp.array([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])

    def cost(weight):
        return jnp.where((weight * (share == 0)).sum() > 0, jnp.nan, (weight * TABLE).sum())

    value = expectation(cost, jax.random.key(0), share, 400)
    assert float(value) == pytest.approx(float((share * TABLE).sum()), rel=0.03)
