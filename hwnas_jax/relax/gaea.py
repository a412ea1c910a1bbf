"""GAEA: the parameters are the probabilities, and they follow an exponentiated gradient."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from annotated_types import Gt

from hwnas_jax.relax.base import RELAXATIONS, Gates, Params, Relaxation

_LOWEST = 1e-5
_LARGEST_EXPONENT = 60.0
# Adding an update to an entry near one loses what is smaller than this.
_SMALLEST_SUM = 1e-7


def exponentiated_gradient(learning_rate: float) -> optax.GradientTransformation:
    """Returns steps that keep the rows of `float32[D, K]` on the simplex.

    Each entry is multiplied by exp(-learning_rate * gradient) and held at or above 1e-5, so that it
    can grow again; then rows are divided by their sum. An entry that is exactly zero stands for an
    option that does not exist, and stays zero. All others stay above zero.

    Args:
      learning_rate: positive.
    """

    def update(gradient, state, params):
        # The bound only matters for gradients that would overflow float32.
        exponent = jnp.minimum(-learning_rate * gradient, _LARGEST_EXPONENT)
        grown = jnp.maximum(params * jnp.exp(exponent), _LOWEST)
        exists = params > 0
        total = jnp.sum(grown, -1, keepdims=True, where=exists)
        return jnp.where(exists, jnp.maximum(grown / total, _SMALLEST_SUM), 0.0) - params, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)  # type: ignore[arg-type]


@RELAXATIONS.add
@dataclasses.dataclass(frozen=True)
class Gaea(Relaxation):
    """Mixes all options by parameters on the simplex; the temperature changes nothing.

    References: Li et al., "Geometry-Aware Gradient Algorithms for Neural Architecture Search",
    2021.
    """

    name = "gaea"
    summary = "all options run, mixed by parameters on the simplex (GAEA)"
    has_logits = False

    learning_rate: Annotated[float, Gt(0)] = 0.1
    """of the exponentiated gradient"""

    def init(self, key: jax.Array, mask: jax.Array) -> Params:
        """Returns even probabilities, `float32[D, K]`."""
        del key
        return mask / mask.sum(-1, keepdims=True, dtype=jnp.float32)

    def sample(
        self, key: jax.Array, params: Params, mask: jax.Array, temperature: jax.Array
    ) -> Gates:
        """Returns the parameters as gates."""
        del key, temperature
        return Gates(self.probabilities(params, mask))

    def probabilities(self, params: Params, mask: jax.Array) -> jax.Array:
        """Returns the parameters."""
        return jnp.where(mask, params, 0.0)

    def optimizer(self) -> optax.GradientTransformation:
        """Returns the exponentiated gradient; a weight decay pulls towards even probabilities."""
        return optax.chain(
            optax.add_decayed_weights(self.decay), exponentiated_gradient(self.learning_rate)
        )
