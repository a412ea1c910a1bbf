"""REINFORCE against its formula, draw by draw, and against enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.config import ParallelConfig
from hwnas_jax.parallel.accumulate import mean_over_micro_batches
from hwnas_jax.parallel.replicas import AXIS, Replicas, mean_over_replicas, own_slice
from hwnas_jax.relax import FairDARTS, Gaea, Softmax
from hwnas_jax.search.estimators import Problem, Reinforce
from hwnas_jax.search.estimators.reinforce import Baseline

MASK = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool)
LOGITS = np.array([[0.4, -0.6, 0.2, 0.0], [0.0, 0.9, -0.3, 0.5]], np.float32)
COST = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
DATA = np.linspace(0.5, 2.0, 8, dtype=np.float32)
ROWS = np.arange(2)


def loss(weights, gates, data):
    """Each pair of options has a cost of its own, so no sum of gates gives it."""
    assert gates.index is not None, "only drawn options run"
    first, second = gates.index
    value = (data * jnp.asarray(COST)[first, second] + data**2).mean()
    return value + weights.sum(), {"pair": jnp.stack([first, second]).astype(jnp.float32)}


def problem(relaxation=None, mean=None):
    relaxation = relaxation or Softmax()

    def refuse(*arguments):
        raise AssertionError("the relaxation's draw plays no part")

    return Problem(
        weights=jnp.full(2, 0.25), loss=loss, sample=refuse,
        probabilities=lambda params: relaxation.probabilities(params, MASK),
        validation=mean or (lambda function: function(jnp.asarray(DATA))), training=refuse,
        update=refuse, weight_decay=0.0, learning_rate=jnp.ones(()),
    )  # fmt: skip


def value(pair):
    """The loss of a pair, with numpy."""
    return float((DATA * COST[pair] + DATA**2).mean() + 0.5)


def share():
    raised = np.where(MASK, np.exp(LOGITS.astype(float)), 0.0)
    return raised / raised.sum(-1, keepdims=True)


def score(pair):
    return np.eye(4)[list(pair)] - share()


def test_each_draw_is_the_loss_above_the_baseline_times_the_score():
    state = Baseline(jnp.asarray(0.6), jnp.asarray(0.5))
    estimate = jax.jit(
        lambda key: Reinforce(decay=0.9).estimate(key, jnp.asarray(LOGITS), state, problem())
    )
    seen = set()
    for seed in range(10):
        found, after = estimate(jax.random.key(seed))
        pair = tuple(np.asarray(found.aux["pair"], int))
        seen.add(pair)
        assert float(found.loss) == pytest.approx(value(pair), rel=1e-5)
        np.testing.assert_allclose(
            found.gradient, (value(pair) - 1.2) * score(pair), rtol=1e-4, atol=1e-6
        )
        assert float(after.total) == pytest.approx(0.9 * 0.6 + 0.1 * value(pair), rel=1e-5)
        assert float(after.weight) == pytest.approx(0.9 * 0.5 + 0.1)
    assert len(seen) > 3


def test_the_baseline_is_the_moving_average_of_earlier_losses():
    """Without the bias of its start: after one step it is that step's loss."""
    estimator, state, losses = Reinforce(decay=0.8), Reinforce().init(), []
    step = jax.jit(
        lambda key, state: estimator.estimate(key, jnp.asarray(LOGITS), state, problem())
    )
    for seed in range(6):
        found, after = step(jax.random.key(seed), state)
        pair = tuple(np.asarray(found.aux["pair"], int))
        weights = 0.8 ** np.arange(len(losses))[::-1]
        baseline = float(np.average(losses, weights=weights)) if losses else 0.0
        np.testing.assert_allclose(
            found.gradient, (value(pair) - baseline) * score(pair), rtol=1e-3, atol=1e-5
        )
        losses.append(float(found.loss))
        state = after


def exact(relaxation, params):
    """The gradient of the mean loss over all pairs."""

    def mean(params):
        p = relaxation.probabilities(params, MASK)
        return sum(
            p[0, pair[0]] * p[1, pair[1]] * value(pair)
            for pair in itertools.product(range(4), range(4))
        )

    return np.asarray(jax.jit(jax.grad(mean))(params))


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("relaxation", [Softmax(), Gaea(), FairDARTS()], ids=lambda r: r.name)
def test_it_is_unbiased_for_any_loss_and_relaxation(relaxation, samples):
    params = jnp.asarray(share(), jnp.float32) if isinstance(relaxation, Gaea) else LOGITS
    state = Baseline(jnp.asarray(2.5), jnp.ones(()))
    made = problem(relaxation)

    def one(key):
        return Reinforce(samples=samples).estimate(key, params, state, made)[0].gradient

    found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 8000)), float)
    error = found.std(0) / len(found) ** 0.5
    expected = exact(relaxation, params)
    if isinstance(relaxation, Gaea):  # Only differences along the simplex are followed.
        found, expected = (
            np.where(MASK, g - g.mean(-1, keepdims=True, where=MASK), 0.0)
            for g in (found, expected)
        )
        error = found.std(0) / len(found) ** 0.5
    assert (np.abs(found.mean(0) - expected) <= 5 * error + 1e-5).all()
    assert np.abs(expected).max() > 5 * error.max()


def test_more_samples_mean_less_noise():
    def noise(samples):
        def one(key):
            estimator = Reinforce(samples=samples)
            return estimator.estimate(key, jnp.asarray(LOGITS), estimator.init(), problem())[0]

        found = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), 4000))
        return float(np.asarray(found.gradient).var(0).sum())

    assert noise(1) / noise(4) == pytest.approx(4.0, rel=0.15)


def test_replicas_and_micro_batches_mean_the_whole_data():
    """Four replicas of two micro-batches that draw alike; then each draws its own."""
    key, estimator = jax.random.key(3), Reinforce(samples=2)
    state = Baseline(jnp.asarray(1.0), jnp.ones(()))

    def replica(carry, whole, own_paths):
        data = own_slice(whole, AXIS)

        def mean(function):
            return mean_over_replicas(mean_over_micro_batches(function, 2, data), AXIS)

        own = jax.random.fold_in(key, jax.lax.axis_index(AXIS)) if own_paths else key
        found, after = estimator.estimate(own, jnp.asarray(LOGITS), state, problem(mean=mean))
        return carry, (found.loss, found.gradient, after)

    group = Replicas.from_config(ParallelConfig(devices=4))

    def run(own_paths):
        compiled = group.compile(lambda carry, whole: replica(carry, whole, own_paths))
        _, found = compiled(group.place(jnp.zeros(())), group.share(jnp.asarray(DATA)))
        group.check_identical(found)
        return group.read(found)

    def alone(key, data):
        made = problem(mean=lambda function: function(data))
        found, after = estimator.estimate(key, jnp.asarray(LOGITS), state, made)
        return found.loss, found.gradient, after

    jitted = jax.jit(alone)
    for one, other in zip(
        jax.tree.leaves(run(False)), jax.tree.leaves(jitted(key, DATA)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    each = [jitted(jax.random.fold_in(key, n), DATA[2 * n : 2 * n + 2])[1] for n in range(4)]
    np.testing.assert_allclose(run(True)[1], np.mean(each, 0), rtol=1e-5, atol=1e-6)
