"""AdvantageNAS beside REINFORCE, on the toy problem with 10 edges of 10 options."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hwnas_jax.relax import Advantage
from hwnas_jax.search.estimators import Backprop, Reinforce
from hwnas_jax.search.estimators.reinforce import Baseline
from tests.search.estimators import toy

METHODS = {"advantage": Backprop(), "reinforce": Reinforce()}
BLOCK, BLOCKS = 50, 10


def gradients(estimator, problem, state, logits, count):
    """`float[count, EDGES, OPTIONS]`: the estimates of many draws."""

    def one(key):
        return estimator.estimate(key, logits, state, problem)[0].gradient

    keys = jax.random.split(jax.random.key(9), count)
    return np.asarray(jax.jit(jax.vmap(one))(keys), float)


def best_baseline(loss):
    """A state of REINFORCE whose average is a given loss."""
    return Baseline(jnp.asarray(loss, jnp.float32), jnp.ones(()))


def test_credit_is_unbiased_and_less_noisy_on_a_linear_loss():
    """Every edge adds the cost of its option: both estimates have the exact mean."""
    cost = jnp.asarray(np.random.default_rng(0).normal(size=toy.MASK.shape), jnp.float32)
    logits = jnp.asarray(np.random.default_rng(1).normal(size=toy.MASK.shape), jnp.float32)
    made = toy.make(jax.random.key(0))

    def loss(weights, gates, *part):
        rows = jnp.arange(toy.EDGES)
        return (gates.weight * cost)[rows, gates.index].sum(), ()

    problem = toy.problem(made, Advantage(), jax.random.key(1))._replace(loss=loss)
    share = np.asarray(jax.nn.softmax(logits), float)
    mean_cost = (share * cost).sum(-1, keepdims=True)
    exact = share * (np.asarray(cost) - mean_cost)
    states = {"advantage": (), "reinforce": best_baseline(mean_cost.sum())}
    noise = {}
    for name, estimator in METHODS.items():
        found = gradients(estimator, problem, states[name], logits, 10_000)
        error = found.std(0) / len(found) ** 0.5
        assert (np.abs(found.mean(0) - exact) <= 5 * error + 1e-6).all()
        noise[name] = found.var(0).sum()
    assert noise["advantage"] < 0.3 * noise["reinforce"]


def test_credit_is_less_noisy_on_the_regression():
    """Variance over the squared length of the mean gradient, at even probabilities."""
    made, logits = toy.make(jax.random.key(0)), jnp.zeros(toy.MASK.shape)
    problem = toy.problem(made, Advantage(), jax.random.key(1))
    loss_of = jax.jit(
        jax.vmap(lambda key: Reinforce().estimate(key, logits, Reinforce().init(), problem)[0].loss)
    )
    losses = loss_of(jax.random.split(jax.random.key(2), 2000))
    states = {"advantage": (), "reinforce": best_baseline(losses.mean())}
    noise = {}
    for name, estimator in METHODS.items():
        found = gradients(estimator, problem, states[name], logits, 5_000)
        signal = np.square(found.mean(0)).sum() - found.var(0).sum() / len(found)
        noise[name] = found.var(0).sum() / signal
    assert noise["advantage"] < 0.5 * noise["reinforce"]


@functools.partial(jax.jit, static_argnums=0)
def errors(name, key):
    """The squared error of the most probable architecture, after each block of steps."""
    estimator, relaxation = METHODS[name], Advantage()
    made, optimizer = toy.make(key), optax.adam(0.01)
    inputs = jax.random.uniform(jax.random.key(0), (64, toy.INPUTS), minval=-1.0, maxval=1.0)

    def step(carry, number):
        params, moments, state = carry
        draw, data = jax.random.split(jax.random.fold_in(key, number))
        estimate, state = estimator.estimate(
            draw, params, state, toy.problem(made, relaxation, data)
        )
        updates, moments = optimizer.update(estimate.gradient, moments, params)
        return (optax.apply_updates(params, updates), moments, state), None

    def block(carry, numbers):
        carry, _ = jax.lax.scan(step, carry, numbers)
        run = functools.partial(toy.output, made, inputs, factor=jnp.ones(toy.EDGES))
        return carry, jnp.mean((run(index=carry[0].argmax(-1)) - run(index=made.teacher)) ** 2)

    params = jnp.zeros(toy.MASK.shape)
    start = params, optimizer.init(params), estimator.init()
    return jax.lax.scan(block, start, jnp.arange(BLOCK * BLOCKS).reshape(BLOCKS, BLOCK))[1]


def test_credit_needs_fewer_steps():
    """Medians of 30 trials: half the steps reach what REINFORCE reaches with all of them."""
    keys = jax.random.split(jax.random.key(4), 30)
    credit, score = (
        np.median(jax.vmap(functools.partial(errors, name))(keys), 0) for name in METHODS
    )
    assert credit[BLOCKS // 2 - 1] < score[-1]
    assert credit[-1] < 0.8 * score[-1]
