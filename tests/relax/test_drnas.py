"""DrNAS against the moments of Dirichlet distributions and their divergence in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from hwnas_jax.relax import DrNAS
from hwnas_jax.relax.drnas import kl_to_uniform

MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 1], [0, 1, 0, 0]], bool)
PARAMS = np.array([[0.0, 1.5, -1.0, 0.3], [2.0, -0.5, 7.0, 0.0], [9.0, 0.7, 9.0, 9.0]], np.float32)
# elu(x) + 1
CONCENTRATION = np.where(PARAMS > 0, PARAMS + 1.0, np.exp(np.minimum(PARAMS, 0.0)))


def rows():
    """Each decision's place and concentrations."""
    for row, exists in enumerate(MASK):
        yield row, np.flatnonzero(exists), CONCENTRATION[row][exists]


def samples(params, count=20_000):
    keys = jax.random.split(jax.random.key(0), count)
    draw = jax.vmap(lambda key: DrNAS().sample(key, jnp.asarray(params), MASK, 1.0).weight)
    return np.asarray(jax.jit(draw)(keys), float)


def test_samples_have_dirichlet_moments():
    found = samples(PARAMS)
    for row, columns, concentration in rows():
        drawn = found[:, row, columns]
        if len(columns) == 1:
            np.testing.assert_array_equal(drawn, 1.0)
            continue
        law = stats.dirichlet(concentration)
        np.testing.assert_allclose(drawn.mean(0), law.mean(), atol=0.01)
        np.testing.assert_allclose(np.cov(drawn.T), law.cov(), atol=0.004)
        first = stats.beta(concentration[0], concentration.sum() - concentration[0])
        assert stats.kstest(drawn[:, 0], first.cdf).pvalue > 1e-3


def test_probabilities_are_the_mean():
    share = np.asarray(DrNAS().probabilities(jnp.asarray(PARAMS), MASK))
    for row, columns, concentration in rows():
        np.testing.assert_allclose(
            share[row, columns], concentration / concentration.sum(), rtol=1e-6
        )


def test_the_divergence_has_its_closed_form():
    """As a difference of entropies: the uniform density is constant, (K - 1)!."""
    expected = sum(
        -stats.dirichlet(concentration).entropy() - special.gammaln(len(columns))
        for _, columns, concentration in rows() if len(columns) > 1
    )  # fmt: skip
    found = kl_to_uniform(jnp.asarray(PARAMS), MASK)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(
        DrNAS(kl_weight=0.3).penalty(jnp.asarray(PARAMS), MASK, 0.5), 0.3 * expected, rtol=1e-5
    )
    assert abs(float(kl_to_uniform(jnp.zeros(MASK.shape), MASK))) < 1e-5


def test_the_divergence_is_that_of_drawn_samples():
    found = samples(PARAMS)
    total = 0.0
    for row, columns, concentration in rows():
        if len(columns) > 1:
            drawn = found[:, row, columns]
            drawn = drawn / drawn.sum(-1, keepdims=True)
            log_density = stats.dirichlet(concentration).logpdf(drawn.T)
            total += log_density.mean() - special.gammaln(len(columns))
    np.testing.assert_allclose(kl_to_uniform(jnp.asarray(PARAMS), MASK), total, rtol=0.03)


def test_the_path_gradient_is_that_of_the_expectation():
    """Of the mean and of the mean square of a gate, whose closed forms are differentiated."""
    slope = jnp.asarray(np.arange(12.0).reshape(3, 4))

    def function(gates):
        return (slope * gates + 3.0 * gates**2).sum()

    def closed(params):
        concentration = jnp.where(params > 0, params + 1.0, jnp.exp(params))
        concentration = jnp.where(MASK, concentration, 0.0)
        total = concentration.sum(-1, keepdims=True)
        square = concentration * (concentration + 1) / (total * (total + 1))
        return (slope * concentration / total + 3.0 * square).sum()

    def one(key):
        return jax.grad(lambda p: function(DrNAS().sample(key, p, MASK, 1.0).weight))(
            jnp.asarray(PARAMS)
        )

    found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(3), 5_000)))
    error = found.std(0) / np.sqrt(len(found))
    expected = np.asarray(jax.grad(closed)(jnp.asarray(PARAMS)))
    assert (np.abs(found.mean(0) - expected) <= 4 * error + 1e-4).all()
    assert np.abs(expected[0]).max() > 10 * error[0].max()


def test_far_parameters_stay_finite():
    def loss(params, key):
        gates = DrNAS().sample(key, params, MASK, 1.0)
        return (gates.weight**2).sum() + DrNAS().penalty(params, MASK, 1.0)

    params = jnp.array([-80.0, -20.0, 200.0])[:, None, None] * jnp.ones(MASK.shape)
    both = jax.jit(jax.vmap(jax.vmap(jax.value_and_grad(loss), (0, None)), (None, 0)))
    value, gradient = both(params, jax.random.split(jax.random.key(0), 4))
    assert np.isfinite(value).all() and np.isfinite(gradient).all()
