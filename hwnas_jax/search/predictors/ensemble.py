"""An ensemble of dense networks, the predictor of BANANAS.

Legend: `N` architectures to learn from, `n` asked about, `F` features, `E` members.
"""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from hwnas_jax.search.predictors.base import PREDICTORS, Predictor, Scale, standardised
from hwnas_jax.search.predictors.networks import draw_parameters, outputs, trained


class FittedEnsemble(NamedTuple):
    """The trained members.

    Attributes:
      scale: of the targets.
      parameters: of the networks, with a leading axis `E`.
    """

    scale: Scale
    parameters: Any


@PREDICTORS.add
@dataclasses.dataclass(frozen=True)
class Ensemble(Predictor):
    """Networks that differ in their initial weights and the order of their examples.

    Each is trained on the mean absolute error of all that is known. Mean and standard deviation
    are those of their predictions.

    References: White, Neiswanger and Savani, "BANANAS: Bayesian Optimization with Neural
    Architectures for Neural Architecture Search", AAAI 2021, from which the defaults are; targets
    are standardised here.
    """

    name = "ensemble"
    summary = "ensemble of dense networks, as in BANANAS"

    members: Annotated[int, Ge(2)] = 5
    """networks"""
    layers: Annotated[int, Ge(1)] = 10
    """hidden layers of each"""
    width: Annotated[int, Ge(1)] = 20
    """units of a hidden layer"""
    epochs: Annotated[int, Ge(1)] = 150
    """passes over all that is known"""
    batch: Annotated[int, Ge(1)] = 32
    """examples of a step"""
    learning_rate: Annotated[float, Gt(0)] = 0.01
    """of Adam"""

    def fit(
        self, key: jax.Array, features: jax.Array, targets: jax.Array, known: jax.Array
    ) -> FittedEnsemble:
        """Returns the trained networks."""
        scaled, scale = standardised(targets, known)
        inputs = jnp.where(known[:, None], features, 0.0)
        sizes = (features.shape[1], *[self.width] * self.layers, 1)

        def loss(parameters, rows, counts):
            error = jnp.abs(outputs(parameters, inputs[rows]) - scaled[rows])
            return (error * counts).sum() / counts.sum()

        def member(key):
            draw_key, order_key = jax.random.split(key)
            return trained(
                order_key, loss, draw_parameters(draw_key, sizes), known,
                epochs=self.epochs, batch=self.batch, learning_rate=self.learning_rate,
            )  # fmt: skip

        return FittedEnsemble(scale, jax.vmap(member)(jax.random.split(key, self.members)))

    def predict(self, fitted: FittedEnsemble, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns mean and standard deviation over the networks, two `float32[n]`."""
        found = jax.vmap(outputs, (0, None))(fitted.parameters, features)
        return fitted.scale.back(found.mean(axis=0), found.var(axis=0))
