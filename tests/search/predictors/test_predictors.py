"""Predictors against scikit-learn, SciPy and closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.search.predictors import PREDICTORS, Gaussian, Predictor, Ridge, standardised
from hwnas_jax.search.predictors.evidence import RATIOS, most_evident
from hwnas_jax.search.predictors.networks import draw_parameters, outputs, trained
from hwnas_jax.search.predictors.ranker import pairwise_loss
from tests.search.predictors.predictor_contract import (
    EVERY,
    KNOWN,
    ROWS,
    SCORES,
    check_contract,
)

SMALL = {"ensemble": {"layers": 2, "epochs": 60, "members": 3}, "ranker": {"epochs": 40}}
SEEN, TARGETS, NEW = EVERY[:ROWS][KNOWN], SCORES[:ROWS][KNOWN], EVERY[ROWS:]


@pytest.mark.parametrize("name", PREDICTORS)
def test_contract(name):
    check_contract(PREDICTORS.make(Part(name, SMALL.get(name, {}))))


class Curious(Ridge):
    """Looks at rows that are not known."""

    def fit(self, key, features, targets, known):
        return super().fit(key, features, targets, jnp.ones_like(known))


class Sure(Ridge):
    """Has no doubt."""

    def predict(self, fitted, features):
        mean, std = super().predict(fitted, features)
        return mean, jnp.zeros_like(std)


class Single(Ridge):
    """Forgets the deviation."""

    def predict(self, fitted, features):
        return super().predict(fitted, features)[:1]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Curious, "reads rows that are not known"),
        (Sure, "sure of what it never saw"),
        (Single, r"predict must return two float32\[n\]"),
    ],
)
def test_a_broken_predictor_is_told(broken, said):
    with pytest.raises((UserError, AssertionError), match=said):
        check_contract(broken())


def test_options_are_checked():
    with pytest.raises(UserError, match=r"members = 1 must be greater than or equal to 2"):
        PREDICTORS.make(Part("ensemble", {"members": 1}))
    with pytest.raises(UserError, match=r"unknown predictor 'gausian'.*'gaussian'"):
        PREDICTORS.make(Part("gausian"))


@functools.cache
def fitted_by(kind: type[Predictor]):
    """Returns the fit, and mean and deviation of the new rows."""
    return learned(kind(), EVERY[:ROWS], SCORES[:ROWS], KNOWN, NEW)


def learned(predictor, features, targets, known, asked):
    """Returns the fit, and mean and deviation of the rows asked about."""

    def run(features, targets, known, asked):
        fitted = predictor.fit(jax.random.key(0), features, targets, known)
        return fitted, *predictor.predict(fitted, asked)

    return jax.tree.map(np.asarray, jax.jit(run)(features, targets, known, asked))


def test_the_ratio_is_that_of_the_greatest_evidence():
    """By SciPy's density of the targets, with the best noise found numerically."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(12, 5)).astype(np.float32) / np.sqrt(5)
    targets = rows @ rng.normal(size=5) + 0.3 * rng.normal(size=12)
    targets = (targets - targets.mean()).astype(np.float32)
    fit = jax.jit(most_evident)(rows @ rows.T, targets, np.ones(12, bool))

    def evidence(ratio):
        shape = ratio * (rows @ rows.T).astype(float) + np.eye(12)

        def negative(log_noise):
            normal = scipy.stats.multivariate_normal(cov=np.exp(log_noise) * shape)
            return -normal.logpdf(targets)

        return scipy.optimize.minimize_scalar(negative, bracket=(-3, 0))

    found = [evidence(float(ratio)) for ratio in RATIOS]
    best = int(np.argmin([each.fun for each in found]))
    assert float(fit.ratio) == RATIOS[best]
    assert 0 < best < len(RATIOS) - 1
    assert float(fit.noise) == pytest.approx(np.exp(found[best].x), rel=1e-3)
    constant = 6 * (np.log(2 * np.pi) + 1)
    assert float(fit.log_evidence) == pytest.approx(constant - found[best].fun, abs=1e-3)


def test_ridge_is_the_closed_form():
    """Effects of the features themselves, with a flat prior on the intercept."""
    fitted, mean, std = fitted_by(Ridge)
    rows = (SEEN - SEEN.mean(axis=0)).astype(float)
    size = (rows**2).sum(axis=1).mean()
    targets, count = TARGETS.astype(float), len(TARGETS)
    penalty = size / float(fitted.posterior.ratio)
    inverse = np.linalg.inv(rows.T @ rows + penalty * np.eye(rows.shape[1]))
    effects = inverse @ rows.T @ (targets - targets.mean())
    asked = NEW - SEEN.mean(axis=0)
    np.testing.assert_allclose(mean, targets.mean() + asked @ effects, atol=1e-3)
    noise = float(fitted.posterior.noise) * targets.var()
    spread = noise * (1 + 1 / count + np.einsum("nf,fg,ng->n", asked, inverse, asked))
    np.testing.assert_allclose(std, np.sqrt(spread), rtol=1e-3)
    # The targets have noise of deviation 0.1.
    assert 0.07 < np.sqrt(noise) < 0.14


def test_the_gaussian_process_is_that_of_scikit_learn():
    fitted, mean, std = fitted_by(Gaussian)
    share, reach = map(float, fitted.shape)
    rows = SEEN - SEEN.mean(axis=0)
    size = np.sqrt((rows**2).sum(axis=1).mean())
    ratio, noise = float(fitted.posterior.ratio), float(fitted.posterior.noise)
    products = ConstantKernel(ratio * noise * (1 - share)) * DotProduct(0.0)
    radial = ConstantKernel(ratio * noise * share) * RBF(np.sqrt(2) * reach)
    process = GaussianProcessRegressor(products + radial, alpha=noise, optimizer=None)
    process.fit(rows / size, (TARGETS - TARGETS.mean()) / TARGETS.std())
    asked = (NEW - SEEN.mean(axis=0)) / size
    expected, deviation = process.predict(asked, return_std=True)
    np.testing.assert_allclose(mean, TARGETS.mean() + TARGETS.std() * expected, atol=2e-3)
    deviation = TARGETS.std() * np.sqrt(deviation**2 + noise)
    np.testing.assert_allclose(std, deviation, rtol=1e-2)


def test_the_gaussian_process_learns_what_no_sum_can():
    """Whether two features are equal."""
    rng = np.random.default_rng(0)
    rows = (rng.uniform(size=(70, 4)) < 0.5).astype(np.float32)
    targets = (rows[:, 0] == rows[:, 1]).astype(np.float32)
    errors = []
    for kind in (Gaussian, Ridge):
        mean = learned(kind(), rows[:40], targets[:40], np.ones(40, bool), rows[40:])[1]
        errors.append(np.abs(mean - targets[40:]).mean())
    assert errors[0] < 0.1 < errors[1]


def test_targets_are_standardised_over_known_rows():
    scaled, scale = standardised(jnp.asarray(SCORES[:ROWS]), jnp.asarray(KNOWN))
    np.testing.assert_allclose(
        scaled, np.where(KNOWN, (SCORES[:ROWS] - TARGETS.mean()) / TARGETS.std(), 0), atol=1e-5
    )
    back, width = scale.back(scaled[0], jnp.float32(4.0))
    assert float(back) == pytest.approx(SCORES[0], abs=1e-5)
    assert float(width) == pytest.approx(2 * TARGETS.std(), rel=1e-5)


def test_a_network_is_its_layers():
    parameters = draw_parameters(jax.random.key(0), (8, 5, 3, 1))
    hidden = NEW
    for number, (weight, bias) in enumerate(jax.tree.map(np.asarray, parameters)):
        hidden = hidden @ weight + bias
        hidden = np.maximum(hidden, 0) if number < 2 else hidden
    np.testing.assert_allclose(outputs(parameters, NEW), hidden[:, 0], atol=1e-6)


def test_an_epoch_visits_every_known_row_once():
    visited = []

    def loss(parameters, rows, counts):
        jax.debug.callback(lambda *seen: visited.append(seen), rows, counts)
        return outputs(parameters, jnp.asarray(EVERY)[rows]).sum()

    parameters = draw_parameters(jax.random.key(0), (8, 1))
    options = {"epochs": 3, "batch": 16, "learning_rate": 0.1}
    jax.block_until_ready(
        trained(jax.random.key(1), loss, parameters, jnp.asarray(KNOWN), **options)
    )
    jax.effects_barrier()
    assert len(visited) == 3 * -(-KNOWN.sum() // 16)
    times = np.zeros(ROWS)
    for rows, counts in visited:
        np.add.at(times, np.asarray(rows), np.asarray(counts))
    np.testing.assert_array_equal(times, 3 * KNOWN)


def test_training_is_adam():
    """In one batch the order changes nothing, so a plain loop takes the same steps."""
    inputs, targets = jnp.asarray(SEEN), jnp.asarray(TARGETS)

    def loss(parameters, rows, counts):
        return (jnp.abs(outputs(parameters, inputs[rows]) - targets[rows]) * counts).mean()

    start = draw_parameters(jax.random.key(2), (8, 4, 1))
    options = {"epochs": 4, "batch": len(SEEN), "learning_rate": 0.05}
    known = jnp.ones(len(SEEN), bool)
    found = trained(jax.random.key(0), loss, start, known, **options)
    every, ones = jnp.arange(len(SEEN)), jnp.ones(len(SEEN))
    slope_of = jax.jit(jax.grad(loss))
    leaves, tree = jax.tree.flatten(jax.tree.map(np.asarray, start))
    first, second = ([np.zeros_like(leaf) for leaf in leaves] for _ in range(2))
    for step in range(1, 5):
        slopes = jax.tree.leaves(slope_of(jax.tree.unflatten(tree, leaves), every, ones))
        for place, slope in enumerate(map(np.asarray, slopes)):
            first[place] = 0.9 * first[place] + 0.1 * slope
            second[place] = 0.99 * second[place] + 0.01 * slope**2
            root = np.sqrt(second[place] / (1 - 0.99**step)) + 1e-8
            leaves[place] = leaves[place] - 0.05 * first[place] / (1 - 0.9**step) / root
    for own, expected in zip(jax.tree.leaves(found), leaves, strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-4)


def test_the_pairwise_loss_counts_every_pair():
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=(2, 7)).astype(np.float32)
    targets[3] = targets[5]
    counts = np.float32([1, 1, 0, 1, 1, 1, 1])
    losses = [
        np.log1p(np.exp(scores[worse] - scores[better]))
        for better in range(7)
        for worse in range(7)
        if targets[better] > targets[worse] and counts[better] and counts[worse]
    ]
    assert len(losses) == 14
    found = pairwise_loss(jnp.asarray(scores), jnp.asarray(targets), jnp.asarray(counts))
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)
