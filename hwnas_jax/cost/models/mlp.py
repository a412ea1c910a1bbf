"""Costs as a linear base times what a small dense network makes of the whole architecture.

Legend: `H` hidden width, `Q` metrics, `F` features.
"""

import functools
import operator
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.models.additive import Features, positive
from hwnas_jax.cost.models.ensemble import Ensemble, register


def bend(x: jax.Array) -> jax.Array:
    """Returns a smooth rectifier of `x` without exponentials, which would be half of the time."""
    return 0.5 * (x + jnp.sqrt(x**2 + 1))


def normal(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    """Returns weights `float[..., inputs, outputs]` of variance `scale / inputs`."""
    return np.sqrt(scale / shape[-2]) * rng.standard_normal(shape)


@register
class MLPEnsemble(Ensemble):
    """An ensemble of dense networks with two hidden layers."""

    name: ClassVar[str] = "mlp"
    what: ClassVar[str] = "the MLP cost model"

    @staticmethod
    def draw(
        rng: np.random.Generator, features: Features, metrics: int, hidden: int
    ) -> dict[str, np.ndarray]:
        return {
            "first": normal(rng, (features.size, hidden), 2.0),
            "first_bias": np.zeros(hidden),
            "second": normal(rng, (hidden, hidden), 2.0),
            "second_bias": np.zeros(hidden),
            "last": normal(rng, (hidden, metrics), 1e-2),
        }

    @staticmethod
    def correct(parameters: dict[str, jax.Array], x: jax.Array, features: Features) -> jax.Array:
        del features
        return _behind(parameters, x @ parameters["first"])

    def encode(self, architectures: np.ndarray) -> np.ndarray:
        return self.features.numbered(architectures)

    def encoded_members(self, rows: jax.Array) -> jax.Array:
        # One-hot rows times a matrix are rows of the matrix: base and first layer are looked up at
        # once, one member after another, whose arrays then stay in the caches.
        count = len(self.metrics)

        def member(parameters: dict[str, jax.Array]) -> jax.Array:
            table = jnp.concatenate([parameters["table"].T, parameters["first"]], axis=1)
            table = self.features.gathered(table)
            found = functools.reduce(operator.add, (table[column] for column in rows.T))
            base = positive(found[:, :count] + parameters["bias"])
            return base * jnp.exp(_behind(parameters, found[:, count:]))

        return jax.lax.map(member, self.parameters)


def _behind(parameters, first):
    """Returns the log correction `float32[..., Q]` of the first layer's products."""
    hidden = bend(first + parameters["first_bias"])
    hidden = bend(hidden @ parameters["second"] + parameters["second_bias"])
    return hidden @ parameters["last"]
