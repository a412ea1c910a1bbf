"""Costs as a linear base times what a small dense network makes of the whole architecture.

Legend: `H` hidden width, `Q` metrics, `F` features.
"""

import functools
import operator
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.additive import Features, positive
from hwnas_jax.cost.ensemble import Ensemble, register


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
        # One-hot rows times a matrix are rows of the matrix: all members' base and first layer
        # are looked up at once.
        linear = jnp.concatenate(
            [self.parameters["table"].swapaxes(1, 2), self.parameters["first"]], axis=2
        )
        members, size, width = linear.shape
        table = self.features.gathered(linear.swapaxes(0, 1).reshape(size, members * width))
        found = functools.reduce(operator.add, (table[column] for column in rows.T))
        found = found.reshape(len(rows), members, width)
        base = positive(found[..., : len(self.metrics)] + self.parameters["bias"])
        first = found[..., len(self.metrics) :]
        correction = jax.vmap(_behind, in_axes=(0, 1), out_axes=0)(self.parameters, first)
        return base.swapaxes(0, 1) * jnp.exp(correction)


def _behind(parameters, first):
    """Returns the log correction `float32[..., Q]` of the first layer's products."""
    hidden = bend(first + parameters["first_bias"])
    hidden = bend(hidden @ parameters["second"] + parameters["second_bias"])
    return hidden @ parameters["last"]
