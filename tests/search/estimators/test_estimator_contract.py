"""Every registered estimator keeps the contract, and the contract tells a broken one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.relax import RELAXATIONS
from hwnas_jax.search.estimators import ESTIMATORS, Backprop, Reinforce
from hwnas_jax.search.estimators.reinforce import Baseline
from tests.search.estimators import contract


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_keeps_the_contract(name):
    contract.check(ESTIMATORS.make(Part(name)))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_goes_with_every_relaxation(name):
    """Also where the gradient goes through the weights, on which the loss depends here."""
    estimator, mask = ESTIMATORS[name](), contract.MASK

    def loss(weights, gates, data):
        weight = gates.weight
        if gates.index is not None:
            weight = weight * jax.nn.one_hot(gates.index, mask.shape[-1])
        scores = jnp.tanh((weight * contract.COST).sum(-1) * weights[:2] + weights[2])
        return jnp.mean((data[:, None] - scores) ** 2), {}

    @jax.jit
    def all_of_them(key):
        found = {}
        for each in RELAXATIONS:
            relaxation = RELAXATIONS[each]()
            made = contract.problem(
                set(),
                lambda key, params, r=relaxation: r.sample(key, params, mask, 1.0),
                lambda params, r=relaxation: r.probabilities(params, mask),
            )._replace(loss=loss, weights=jnp.array([0.3, -0.5, 0.1]))
            params = relaxation.init(key, jnp.asarray(mask))
            estimate, _ = estimator.estimate(key, params, estimator.init(), made)
            found[each] = estimate.gradient
        return found

    found = all_of_them(jax.random.key(1))
    assert set(found) == set(RELAXATIONS)
    for each, leaf in found.items():
        gradient = np.asarray(leaf)
        assert np.isfinite(gradient).all(), each
        assert (gradient[~mask] == 0).all(), each
        assert np.abs(gradient[mask]).max() > 1e-6, each


def test_more_samples_keep_the_contract():
    contract.check(Reinforce(samples=3))


def broken(change, said, base=Backprop, **attributes):
    """An estimator whose results are changed, and what the contract says of it.

    Args:
      change: `(estimate, state, problem) -> (estimate, state)`.
      said: part of the message.
      base: the estimator whose results they are.
      **attributes: of the class.
    """

    def estimate(self, key, params, state, problem):
        return change(*base.estimate(self, key, params, state, problem), problem)

    made = type("Broken", (base,), {"estimate": estimate, **attributes})
    return pytest.param(
        dataclasses.dataclass(frozen=True)(made), said, id=said.replace(" ", "-")
    )  # fmt: skip


def gradient(function):
    return lambda found, state, problem: (
        found._replace(gradient=function(found.gradient)), state
    )  # fmt: skip


def sees_itself(self, key, params, state, problem):
    """A baseline that holds the loss of the same step."""
    loss = Reinforce.estimate(self, key, params, state, problem)[0].loss
    return Reinforce.estimate(self, key, params, Baseline(loss, jnp.ones(())), problem)


def always_the_same_draw(self, key, params, state, problem):
    return Reinforce.estimate(self, jax.random.key(0), params, state, problem)


BROKEN = [
    broken(lambda found, state, problem: (tuple(found), state), "must return an Estimate"),
    broken(gradient(lambda g: g[0]), "the gradient must be like the parameters"),
    broken(gradient(lambda g: {"logits": g}), "the gradient must be like the parameters"),
    broken(
        lambda found, state, problem: (found._replace(loss=jnp.ones(2)), state),
        "must return an Estimate with a loss",
    ),
    broken(
        lambda found, state, problem: (found, jnp.zeros(3)), "the state must stay like that"
    ),
    broken(gradient(lambda g: g / 0.0), "must be finite"),
    broken(gradient(lambda g: g + 1e-6), "leaks to masked options"),
    broken(
        lambda found, state, problem: (found._replace(aux=()), state), "aux must be the mean"
    ),
    broken(gradient(lambda g: -g), "the mean gradient must be exact"),
    broken(
        lambda found, state, problem: (found._replace(loss=2.0 * found.loss), state),
        "the mean loss must be exact",
    ),
    broken(
        lambda found, state, problem: (
            found._replace(aux=problem.training(lambda *part: found.aux)), state
        ),
        "reads_training must say",
    ),
    broken(lambda found, state, problem: (found, state), "reads_training must say",
           reads_training=True),
    broken(lambda found, state, problem: (found, state), "draws_paths must say",
           draws_paths=True),
    broken(lambda found, state, problem: (found, state), "draws_paths must say",
           Reinforce, draws_paths=False),
    broken(lambda found, state, problem: (found, state), "the mean gradient must be exact",
           Reinforce, estimate=sees_itself),
    broken(lambda found, state, problem: (found, state), "must be exact",
           Reinforce, estimate=always_the_same_draw),
]  # fmt: skip


@pytest.mark.parametrize(("method", "said"), BROKEN)
def test_the_contract_tells_a_broken_estimator(method, said):
    with pytest.raises((AssertionError, UserError), match=said):
        contract.check(method())


def test_the_contract_tells_an_estimator_of_the_wrong_half():
    class OfTraining(Backprop):
        reads_training = True

        def estimate(self, key, params, state, problem):
            swapped = problem._replace(validation=problem.training)
            problem.validation(lambda *part: jnp.zeros(()))
            return super().estimate(key, params, state, swapped)

    with pytest.raises(AssertionError, match="aux must be the mean"):
        contract.check(OfTraining())


def test_the_contract_tells_a_gradient_of_another_structure():
    class Flat(Backprop):
        def estimate(self, key, params, state, problem):
            found, state = super().estimate(key, params, state, problem)
            return found._replace(gradient=jax.tree.leaves(found.gradient)[0]), state

    with pytest.raises(AssertionError, match="structure of the parameters"):
        contract.check(Flat())
