"""What every cost model must do; a check raises AssertionError for a model that does not.

All checks ask about the same numbers of gates and architectures, so that a model is compiled once.
"""

import functools

import jax
import numpy as np

from hwnas_jax.cost.models.base import predict_architectures, std_architectures
from hwnas_jax.cost.models.canonical import on_canonical_forms
from hwnas_jax.cost.models.registry import load_cost_model

_COUNT = 8


def gates(space, seed=0, count=_COUNT):
    """Returns random probabilities of the options, `float32[count, D, K]`."""
    rng = np.random.default_rng(seed)
    weights = space.mask * rng.uniform(0.1, 1.0, (count, *space.mask.shape))
    return (weights / weights.sum(axis=2, keepdims=True)).astype(np.float32)


def one_hot(space, rows):
    return np.eye(space.num_options, dtype=np.float32)[rows]


def mean_over_draws(costs, space, weight):
    """Returns the mean of `costs` (`float[N]`, of all architectures) over independent draws."""
    rows = space.enumerate()
    chance = weight[np.arange(space.num_decisions), rows].astype(float).prod(axis=1)
    return chance @ np.asarray(costs, float)


@functools.partial(jax.jit, static_argnames="method")
def asked(model, weights, *, method="predict"):
    return jax.vmap(getattr(model, method))(weights)


@jax.jit
def slopes(model, weights):
    return jax.vmap(jax.jacrev(model.predict))(weights)


def check_shapes(model, space):
    """`predict` and `std` return one finite number for each metric."""
    for method in ("predict", "std"):
        found = asked(model, gates(space), method=method)
        assert set(found) == set(model.metrics), "metrics"
        for metric, values in found.items():
            assert values.shape == (_COUNT,) and np.isfinite(values).all(), metric


def check_architectures(model, space):
    """Architectures cost what their one-hot gates do, by the quick way too."""
    every = space.enumerate()
    some = np.linspace(0, len(every) - 1, _COUNT).round().astype(int)
    ways = (("predict", predict_architectures, 1e-4), ("std", std_architectures, 2e-2))
    for method, quick, allowed in ways:
        slow = asked(model, one_hot(space, every[some]), method=method)
        found = quick(model, every, space.num_options)
        for metric in model.metrics:
            # A deviation is a difference of numbers that are almost alike.
            least = allowed * float(np.abs(slow[metric]).max())
            np.testing.assert_allclose(
                found[metric][some], slow[metric], rtol=allowed, atol=least, err_msg=metric
            )


def check_gradient(model, space):
    """The gradient is that of finite differences."""
    weights, rng = gates(space, 2), np.random.default_rng(2)
    direction = rng.standard_normal(weights.shape) * space.mask
    direction -= space.mask * (direction.sum(axis=2) / space.mask.sum(axis=1))[..., None]
    step = (0.02 * direction / np.abs(direction).max()).astype(np.float32)
    up, down = asked(model, weights + step), asked(model, weights - step)
    slope = slopes(model, weights)
    for metric in model.metrics:
        expected = (np.asarray(up[metric], float) - np.asarray(down[metric], float)) / 2
        found = (np.asarray(slope[metric], float) * step).sum(axis=(1, 2))
        allowed = 0.05 * np.abs(expected) + 1e-5 * np.abs(up[metric])
        assert (np.abs(found - expected) <= allowed).all(), f"gradient of {metric}"


def check_uncertainty(model, space):
    """Deviations are not negative, and zero exactly where the model knows none."""
    every = std_architectures(model, space.enumerate(), space.num_options)
    for metric, values in every.items():
        assert (values >= 0).all(), f"std of {metric}"
        assert (values > 0).any() == model.knows_uncertainty, f"std of {metric}"


def check_file(model, space, folder):
    """A model comes back from its file to the last bit."""
    model.save(folder / "model.npz", space)
    again = load_cost_model(folder / "model.npz", space)
    assert type(again) is type(model) and again.metrics == model.metrics
    for ask in (predict_architectures, std_architectures):
        before, after = (ask(one, space.enumerate(), space.num_options) for one in (model, again))
        for metric in model.metrics:
            np.testing.assert_array_equal(before[metric], after[metric], err_msg=metric)
    before, after = asked(model, gates(space, 4)), asked(again, gates(space, 4))
    for metric in model.metrics:
        np.testing.assert_array_equal(before[metric], after[metric], err_msg=metric)


def check_expectation(model, space):
    """At probabilities an exact model gives the mean over draws; another one does not."""
    costs = predict_architectures(model, space.enumerate(), space.num_options)
    weights = gates(space, 5)
    found = asked(model, weights)
    for metric in model.metrics:
        means = [mean_over_draws(costs[metric], space, weight) for weight in weights]
        gap = np.abs(np.asarray(found[metric], float) / means - 1).max()
        assert model.exact_expectation == (gap < 1e-4), f"expectation of {metric}: {gap}"


def check_canonical(model, space):
    """A search is told the expected cost of canonical forms, which is what is derived."""
    searched = on_canonical_forms(model, space)
    assert searched is not model and searched.exact_expectation == model.exact_expectation
    every = space.enumerate()
    forms = space.canonical(every)
    derived = predict_architectures(model, forms, space.num_options)
    found = predict_architectures(searched, every, space.num_options)
    some = np.linspace(0, len(every) - 1, _COUNT).round().astype(int)
    hard, soft = asked(searched, one_hot(space, every[some])), asked(searched, gates(space, 6))
    for metric in model.metrics:
        np.testing.assert_array_equal(found[metric], derived[metric], err_msg=metric)
        np.testing.assert_allclose(hard[metric], derived[metric][some], rtol=1e-4, err_msg=metric)
        if model.exact_expectation:
            means = [mean_over_draws(derived[metric], space, w) for w in gates(space, 6)]
            np.testing.assert_allclose(soft[metric], means, rtol=1e-4, err_msg=metric)


MODEL_CHECKS = (
    check_shapes, check_architectures, check_gradient, check_uncertainty, check_expectation,
    check_canonical,
)  # fmt: skip
