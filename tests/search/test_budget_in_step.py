"""Budgets of every kind inside the architecture step, against enumeration and differences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.relax import Gates
from hwnas_jax.spaces.core.supernet import make_supernet
from tests.search.steps import MASK, SPACE, arch_gradient, arch_step, batches, make, start
from tests.tiny import OPTIONS

COSTS = {
    "latency_ms": np.random.default_rng(0).uniform(0.1, 1.0, (2, 4)),
    "energy_mj": np.random.default_rng(1).uniform(1.0, 9.0, (2, 4)),
}
LIMITS = {"latency_ms": 1.0, "energy_mj": 12.0}


@jax.tree_util.register_static
class TwoMetrics:
    """Latency adds up; energy is a product, so that a mixture's energy is not the mean energy."""

    name, metrics, exact_expectation = "two", tuple(COSTS), False

    def predict(self, weight):
        first, second = weight @ jnp.asarray(COSTS["energy_mj"], jnp.float32).T
        return {
            "latency_ms": (weight * jnp.asarray(COSTS["latency_ms"], jnp.float32)).sum(),
            "energy_mj": first[0] * second[1] / 2,
        }


@jax.tree_util.register_static
class ExactLatency(TwoMetrics):
    metrics, exact_expectation = ("latency_ms",), True


def costs_of(i, j):
    """Returns what one architecture costs, in NumPy."""
    latency, energy = COSTS["latency_ms"], COSTS["energy_mj"]
    return {
        "latency_ms": latency[0, i] + latency[1, j],
        "energy_mj": energy[0, i] * energy[1, j] / 2,
    }


def softmax(logits):
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def enumerated(function, logits):
    """Returns the mean of `function(costs)` over all architectures drawn by the logits."""
    share = softmax(np.asarray(logits, float))
    every = itertools.product(range(len(OPTIONS)), repeat=2)
    return sum(share[0, i] * share[1, j] * function(costs_of(i, j)) for i, j in every)


def slope(function, logits, size=1e-4):
    """Returns the gradient of `function(logits)` by central differences, one entry at a time."""
    logits = np.asarray(logits, float)
    found = np.zeros_like(logits)
    for place in np.ndindex(logits.shape):
        shift = np.zeros_like(logits)
        shift[place] = size
        found[place] = (function(logits + shift) - function(logits - shift)) / (2 * size)
    return found


def stepped(model, limits, multipliers=None, params=None, **changes):
    """Returns the state before and after one architecture step, and what it reported."""
    search = make(**changes)
    state = search.init(jax.random.key(0), limits)
    params = start().params if params is None else params
    state = state._replace(params=params, weights=start().weights)
    if multipliers is not None:
        own = {metric: jnp.float32(value) for metric, value in multipliers.items()}
        state = state._replace(budget=state.budget._replace(multipliers=own))
    return state, *arch_step(search, state, model=model)


@pytest.fixture(scope="module")
def task_gradient():
    """What the task alone does to the parameters: a budget of no weight adds nothing to it."""
    _, after, _ = stepped(ExactLatency(), {"latency_ms": 1.0})
    return arch_gradient(after)


def above(costs, metric):
    return max(costs[metric] / LIMITS[metric] - 1.0, 0.0)


MULTIPLIERS = {"latency_ms": 0.7, "energy_mj": 1.3}


def bounded(costs):
    """The upper bound's term: multiplier times what lies above, and half a damping its square."""
    return sum(MULTIPLIERS[m] * above(costs, m) + 0.5 * 3.0 * above(costs, m) ** 2 for m in LIMITS)


def absolute(costs):
    return sum(0.4 * abs(costs[m] / LIMITS[m] - 1.0) for m in LIMITS)


@pytest.mark.parametrize(
    ("budget", "args", "multipliers", "term"),
    [
        ("upper_bound", {"damping": 3.0, "learning_rate": 0.5}, MULTIPLIERS, bounded),
        ("absolute_reward", {"weight": 0.4}, None, absolute),
    ],
)
def test_a_term_of_drawn_networks_has_the_gradient_of_its_enumerated_mean(
    task_gradient, budget, args, multipliers, term
):
    before, after, _ = stepped(
        TwoMetrics(), LIMITS, multipliers,
        budget__name=budget, budget__args=args, target__samples=3000,
    )  # fmt: skip
    found = arch_gradient(after) - task_gradient
    wanted = slope(lambda logits: enumerated(term, logits), before.params)
    np.testing.assert_allclose(found, wanted, atol=0.02 * np.abs(wanted).max())
    # Of the mixture's own costs the term would be another one.
    mixed = {m: enumerated(lambda costs, m=m: costs[m], before.params) for m in LIMITS}
    assert term(mixed) < 0.9 * enumerated(term, before.params)
    if multipliers is not None:
        for metric, multiplier in after.budget.multipliers.items():
            mean = enumerated(lambda costs, m=metric: above(costs, m), before.params)
            expected = multipliers[metric] + 0.5 * (mean - 0.005)
            assert float(multiplier) == pytest.approx(expected, rel=0.01)


def test_a_term_of_expected_costs_has_the_gradient_of_its_closed_form(task_gradient):
    multipliers = {"latency_ms": 0.7}
    before, after, (_, _, cost, _) = stepped(
        ExactLatency(), {"latency_ms": 0.8}, multipliers,
        budget__name="dual_ascent", budget__args={"damping": 3.0},
    )  # fmt: skip

    def term(logits):
        excess = enumerated(lambda costs: costs["latency_ms"], logits) / 0.8 - 1.0
        return 0.7 * excess + 1.5 * excess**2

    wanted = slope(term, before.params)
    np.testing.assert_allclose(arch_gradient(after) - task_gradient, wanted, atol=1e-4)
    mean = enumerated(lambda costs: costs["latency_ms"], before.params)
    assert float(cost) == pytest.approx(mean, rel=1e-5)


def test_a_budget_that_multiplies_the_loss_reaches_the_parameters_by_the_chain_rule(monkeypatch):
    """Differences of the whole objective: loss times the power of the costs, plus the penalty.

    The network has no kinks here, where differences would be those of two pieces.
    """
    monkeypatch.setattr(jax.nn, "relu", jax.nn.silu)
    supernet, data, weights = make_supernet(SPACE), batches()["arch"], start().weights

    @jax.jit
    def task(params):
        outputs = supernet.apply(weights, data.inputs, Gates(jax.nn.softmax(params)))
        return -jnp.take_along_axis(jax.nn.log_softmax(outputs), data.targets[:, None], 1).mean()

    search = make(
        "beta_darts", search__relaxation__args={"penalty_weight": 0.6},
        budget__name="product", budget__args={"exponent": 0.5},
    )  # fmt: skip
    state = search.init(jax.random.key(0), {"latency_ms": 0.6})
    state = state._replace(params=start().params, weights=weights, step=jnp.int32(4))
    after, (reported, *_) = arch_step(search, state, model=ExactLatency())

    def objective(params):
        cost = enumerated(lambda costs: costs["latency_ms"], params)
        penalty = 0.6 * 0.4 * np.log(np.exp(np.asarray(params, float)).sum(-1)).mean()
        return float(task(jnp.asarray(params, jnp.float32))) * (cost / 0.6) ** 0.5 + penalty

    assert float(reported) == pytest.approx(float(task(state.params)), rel=1e-5)
    found = arch_gradient(after)
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=MASK.shape)
        direction = direction / np.linalg.norm(direction) + found / np.linalg.norm(found)
        ends = [objective(np.asarray(state.params) + sign * 0.03 * direction) for sign in (1, -1)]
        assert (found * direction).sum() == pytest.approx((ends[0] - ends[1]) / 0.06, rel=5e-3)
    # Each of the three parts matters, or this test would tell nothing.
    share = slope(
        lambda p: (enumerated(lambda costs: costs["latency_ms"], p) / 0.6) ** 0.5, state.params
    )
    penalty = slope(lambda p: 0.24 * np.log(np.exp(p).sum(-1)).mean(), state.params)
    assert min(np.abs(part).max() for part in (float(reported) * share, penalty)) > 0.02
    assert np.abs(found - float(reported) * share - penalty).max() > 1e-3
