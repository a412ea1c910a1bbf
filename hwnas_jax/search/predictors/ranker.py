"""Dense networks that learn which of two architectures is better.

Legend: `N` architectures to learn from, `n` asked about, `F` features, `E` members.
"""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from hwnas_jax.search.predictors.base import PREDICTORS, Predictor, standardised
from hwnas_jax.search.predictors.networks import draw_parameters, outputs, trained


class FittedRanker(NamedTuple):
    """The trained members, and what their outputs mean.

    Attributes:
      parameters: of the networks, with a leading axis `E`.
      offset: `float32[E]`, the target where a member's output is zero.
      slope: `float32[E]`, by how much the target grows with a member's output.
    """

    parameters: Any
    offset: jax.Array
    slope: jax.Array


def pairwise_loss(outputs: jax.Array, targets: jax.Array, counts: jax.Array) -> jax.Array:
    """Returns the mean logistic loss of ordering every pair, `float32[]`.

    Args:
      outputs: `float32[b]`.
      targets: `float32[b]`; pairs of equal targets do not count.
      counts: `float32[b]`, zero for rows that do not count.

    References: Burges et al., "Learning to Rank using Gradient Descent", ICML 2005.
    """
    better = (targets[:, None] > targets) * counts[:, None] * counts
    losses = jax.nn.softplus(outputs - outputs[:, None])
    return (better * losses).sum() / jnp.maximum(better.sum(), 1.0)


@PREDICTORS.add
@dataclasses.dataclass(frozen=True)
class Ranker(Predictor):
    """Networks trained to order pairs, so that no outlier among the scores moves them.

    A logistic loss counts every pair of a batch. The outputs of a network have no unit: the line
    that fits them best to the known targets gives them one. Mean and standard deviation are those
    over the networks.

    References: Burges et al., "Learning to Rank using Gradient Descent", ICML 2005; for
    architectures Xu et al., "ReNAS: Relativistic Evaluation of Neural Architecture Search",
    CVPR 2021.
    """

    name = "ranker"
    summary = "ensemble of dense networks that order pairs"

    members: Annotated[int, Ge(2)] = 5
    """networks"""
    layers: Annotated[int, Ge(1)] = 2
    """hidden layers of each"""
    width: Annotated[int, Ge(1)] = 32
    """units of a hidden layer"""
    epochs: Annotated[int, Ge(1)] = 100
    """passes over all that is known"""
    batch: Annotated[int, Ge(2)] = 32
    """examples of a step; their pairs are compared"""
    learning_rate: Annotated[float, Gt(0)] = 0.01
    """of Adam"""

    def fit(
        self, key: jax.Array, features: jax.Array, targets: jax.Array, known: jax.Array
    ) -> FittedRanker:
        """Returns the trained networks, each with its line."""
        scaled, scale = standardised(targets, known)
        inputs = jnp.where(known[:, None], features, 0.0)
        sizes = (features.shape[1], *[self.width] * self.layers, 1)

        def loss(parameters, rows, counts):
            return pairwise_loss(outputs(parameters, inputs[rows]), scaled[rows], counts)

        def member(key):
            draw_key, order_key = jax.random.split(key)
            parameters = trained(
                order_key, loss, draw_parameters(draw_key, sizes), known,
                epochs=self.epochs, batch=self.batch, learning_rate=self.learning_rate,
            )  # fmt: skip
            found, own = standardised(outputs(parameters, inputs), known)
            slope = (found * scaled).sum() / jnp.maximum(known.sum(), 1) / own.width
            return parameters, slope, -slope * own.centre

        parameters, slope, offset = jax.vmap(member)(jax.random.split(key, self.members))
        return FittedRanker(parameters, scale.centre + scale.width * offset, scale.width * slope)

    def predict(self, fitted: FittedRanker, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns mean and standard deviation over the networks, two `float32[n]`."""
        found = jax.vmap(outputs, (0, None))(fitted.parameters, features)
        found = fitted.offset[:, None] + fitted.slope[:, None] * found
        return found.mean(axis=0), found.std(axis=0)
