"""What every estimator must keep, on a loss that is linear in the gates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.parallel.accumulate import mean_over_micro_batches
from hwnas_jax.relax import Softmax
from hwnas_jax.search.estimators import Problem, check_estimator

MASK = np.array([[1, 1, 1, 0], [0, 1, 1, 1]], bool)
LOGITS = np.array([[0.4, -0.6, 0.2, 0.0], [0.0, 0.9, -0.3, 0.5]], np.float32)
# What does not exist looks best by far.
COST = np.where(MASK, np.array([[1.0, 2.0, 0.5, 0.0], [0.0, 1.5, 0.2, -1.0]]), -100.0)
VALIDATION = np.array([0.5, 1.5, 2.0, 4.0], np.float32)
TRAINING = np.array([-1.0, 3.0, -5.0, 7.5], np.float32)
DRAWS = 4000


def problem(calls, sample=None, probabilities=None):
    """The loss is a factor, the mean of the data, times what the gates cost.

    Args:
      calls: the halves of the data that are read are added to this set, and "paths" where only
        drawn options run.
      sample: as in `Problem`; by default softmax gates.
      probabilities: likewise.
    """
    relaxation = Softmax()

    def loss(weights, gates, data):
        cost = jnp.asarray(COST, jnp.float32)
        if gates.index is None:
            total = (gates.weight * cost).sum()
        else:
            calls.add("paths")
            total = (gates.weight * cost)[jnp.arange(len(MASK)), gates.index].sum()
        return data.mean() * total + 0.0 * weights.sum(), {"seen": data.mean()}

    def half(name, data, function):
        calls.add(name)
        return mean_over_micro_batches(function, 2, jnp.asarray(data))

    return Problem(
        weights=jnp.ones(3), loss=loss,
        sample=sample or (lambda key, params: relaxation.sample(key, params, MASK, 1.0)),
        probabilities=probabilities or (lambda params: relaxation.probabilities(params, MASK)),
        validation=functools.partial(half, "validation", VALIDATION),
        training=functools.partial(half, "training", TRAINING),
        update=lambda weights, gradient: weights - 0.1 * gradient,
        weight_decay=0.0, learning_rate=jnp.asarray(0.1),
    )  # fmt: skip


def must(condition, what):
    """Fails with a sentence when a part of the contract is broken."""
    assert np.all(condition), what


def check(estimator):
    """Fails when an estimator breaks its contract."""
    check_estimator(estimator, jnp.zeros(MASK.shape))
    calls: set = set()
    made = problem(calls)

    def steps(key):
        """The second of two steps, so that a state which is carried plays its part."""
        _, state = estimator.estimate(key, LOGITS, estimator.init(), made)
        return estimator.estimate(jax.random.fold_in(key, 1), LOGITS, state, made)

    keys = jax.random.split(jax.random.key(0), DRAWS)
    found, state = jax.tree.map(np.asarray, jax.jit(jax.vmap(steps))(keys))
    must("validation" in calls, "the validation half must be read")
    must(
        ("training" in calls) == estimator.reads_training,
        "reads_training must say whether the training half is read",
    )
    must(
        ("paths" in calls) == estimator.draws_paths,
        "draws_paths must say whether only drawn options run",
    )
    must(
        all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((found, state))),
        "loss, gradient and state must be finite",
    )
    must(found.gradient[:, ~MASK] == 0, "the gradient leaks to masked options")
    factor = float(VALIDATION.mean())
    must(
        isinstance(found.aux, dict) and np.allclose(found.aux.get("seen"), factor),
        "aux must be the mean of what the loss reported",
    )
    share = np.where(MASK, np.exp(LOGITS.astype(float)), 0.0)
    share /= share.sum(-1, keepdims=True)
    mean_cost = (share * COST).sum(-1, keepdims=True)
    for what, seen, exact in (
        ("loss", found.loss, factor * mean_cost.sum()),
        ("gradient", found.gradient, factor * share * (COST - mean_cost)),
    ):
        error = seen.astype(float).std(0) / DRAWS**0.5
        must(
            np.abs(seen.astype(float).mean(0) - exact) <= 5 * error + 1e-5,
            f"the mean {what} must be exact where the loss is linear in the gates",
        )

    relaxation = Softmax()
    tree = {"row": jnp.ones(2), "all": jnp.asarray(LOGITS)}
    of_tree = problem(
        calls,
        lambda key, p: relaxation.sample(key, p["row"][:, None] * p["all"], MASK, 1.0),
        lambda p: relaxation.probabilities(p["row"][:, None] * p["all"], MASK),
    )
    estimate, _ = jax.eval_shape(
        lambda key, tree: estimator.estimate(key, tree, estimator.init(), of_tree), keys[0], tree
    )
    shapes = [jax.tree.map(jnp.shape, one) for one in (estimate.gradient, tree)]
    must(shapes[0] == shapes[1], "the gradient must have the structure of the parameters")
