"""A regression whose 10 edges of 10 options add up, to compare estimators of gradients.

An option of an edge is a fixed random layer. The network is the mean over edges of a bounded
feature of what the drawn option gives. The target is the same network with one option of every
edge, the teacher, so that the best architecture is known. It follows the toy problem of
AdvantageNAS (Sato et al., 2021) in kind: 10 edges, 10 options, one output, squared error.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.relax import Relaxation
from hwnas_jax.search.estimators import Problem

EDGES = OPTIONS = 10
INPUTS, FEATURES, BATCH = 8, 4, 16
MASK = np.ones((EDGES, OPTIONS), bool)


class Toy(NamedTuple):
    """Fixed layers `[EDGES, OPTIONS, FEATURES, INPUTS]`, readouts and the teacher `[EDGES]`."""

    layers: jax.Array
    readouts: jax.Array
    teacher: jax.Array


def make(key):
    layers, readouts, teacher = jax.random.split(key, 3)
    return Toy(
        jax.random.normal(layers, (EDGES, OPTIONS, FEATURES, INPUTS)) / INPUTS**0.5,
        jax.random.normal(readouts, (EDGES, FEATURES)) / FEATURES**0.5,
        jax.random.randint(teacher, (EDGES,), 0, OPTIONS),
    )


def output(toy, inputs, index, factor):
    """Runs the drawn options only; `inputs` is `[BATCH, INPUTS]`, `factor` `[EDGES]`."""
    layers = toy.layers[jnp.arange(EDGES), index]
    hidden = jnp.tanh(factor[:, None] * jnp.einsum("efi,bi->bef", layers, inputs))
    return jnp.einsum("bef,ef->b", hidden, toy.readouts) / EDGES


def problem(toy: Toy, relaxation: Relaxation, key: jax.Array) -> Problem:
    """The toy's squared error on inputs drawn by `key`."""
    inputs = jax.random.uniform(key, (BATCH, INPUTS), minval=-1.0, maxval=1.0)
    target = output(toy, inputs, toy.teacher, jnp.ones(EDGES))

    def loss(weights, gates, inputs, target):
        factor = gates.weight[jnp.arange(EDGES), gates.index]
        found = output(toy, inputs, gates.index, factor)
        return jnp.mean((found - target) ** 2), ()

    return Problem(
        weights=jnp.zeros(1), loss=loss,
        sample=lambda key, params: relaxation.sample(key, params, MASK, jnp.ones(())),
        probabilities=lambda params: relaxation.probabilities(params, MASK),
        validation=lambda function: function(inputs, target),
        training=lambda function: function(inputs, target),
        update=lambda weights, gradient: weights - gradient,
        weight_decay=0.0, learning_rate=jnp.ones(()),
    )  # fmt: skip
