"""A linear base, multiplied by the correction of a small dense network.

Legend: `H` hidden width, `Q` metrics, `F` features.
"""

import functools
import operator
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.models.additive import Features, positive
from hwnas_jax.cost.models.ensemble import Ensemble, TrainedOptions, register
from hwnas_jax.cost.models.registry import COST_MODELS


def bend(x: jax.Array) -> jax.Array:
    """Returns a smooth rectifier of `x`. Without exponentials it takes half as long as softplus."""
    return 0.5 * (x + jnp.sqrt(x**2 + 1))


def normal(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    """Returns weights `float[..., inputs, outputs]` of variance `scale / inputs`."""
    return np.sqrt(scale / shape[-2]) * rng.standard_normal(shape)


@COST_MODELS.add
@register
class MLPEnsemble(Ensemble):
    """An ensemble of dense networks with two hidden layers."""

    name: ClassVar[str] = "mlp"
    summary: ClassVar[str] = "ensemble of MLPs on a linear base, from measured networks"
    label: ClassVar[str] = "MLP ensemble"
    Options: ClassVar[type] = TrainedOptions

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
        # A one-hot row times a matrix is a row of the matrix, so the base and the first layer are
        # looked up together. Members run one after another, which keeps their arrays in the caches.
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
