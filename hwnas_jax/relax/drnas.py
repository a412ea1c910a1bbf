"""DrNAS: the mixture of the options is drawn from a Dirichlet distribution."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jax.scipy.special import digamma, gammaln

from hwnas_jax.relax.base import RELAXATIONS, Gates, Params, Relaxation, softmax_probabilities

_LOWEST = -10.0


def log_concentration(params: jax.Array) -> jax.Array:
    """Returns log(elu(params) + 1), in the shape of `params`.

    Parameters below -10 count as -10: samples are one-hot there, and the divergence of still
    smaller concentrations would overflow.
    """
    above = jnp.log1p(jnp.maximum(params, 0.0))
    return jnp.where(params > 0, above, jnp.maximum(params, _LOWEST))


def kl_to_uniform(params: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns the divergence KL(Dir(elu(params) + 1) || Dir(1)) summed over decisions, `float32[]`.

    Args:
      params: `float32[D, K]`.
      mask: `bool[D, K]`; options that do not exist belong to neither distribution.
    """
    concentration = jnp.exp(log_concentration(jnp.where(mask, params, 0.0)))
    total = jnp.sum(concentration, -1, keepdims=True, where=mask)
    each = (concentration - 1) * (digamma(concentration) - digamma(total)) - gammaln(concentration)
    return jnp.sum(
        gammaln(total[:, 0]) - gammaln(mask.sum(-1).astype(total.dtype))
        + jnp.sum(each, -1, where=mask)
    )  # fmt: skip


@RELAXATIONS.add
@dataclasses.dataclass(frozen=True)
class DrNAS(Relaxation):
    """Mixes all options by a sample of Dir(elu(parameters) + 1); the temperature changes nothing.

    The gradient follows the sample's path through the gamma variables that it is made of. The
    probabilities are the mean of the distribution.

    References: Chen et al., "DrNAS: Dirichlet Neural Architecture Search", 2021.
    """

    name = "drnas"
    summary = "all options run, mixed by a Dirichlet sample (DrNAS)"
    has_logits = False

    kl_weight: Annotated[float, Ge(0)] = 1e-3
    """weight of the divergence from Dir(1), summed over decisions"""

    def sample(
        self, key: jax.Array, params: Params, mask: jax.Array, temperature: jax.Array
    ) -> Gates:
        """Returns a Dirichlet sample as gates."""
        del temperature
        # Normalised gamma variables have a Dirichlet distribution; their logarithms do not
        # underflow where the concentration is small.
        log_gamma = jax.random.loggamma(key, jnp.exp(log_concentration(params)))
        return Gates(softmax_probabilities(log_gamma, mask))

    def probabilities(self, params: Params, mask: jax.Array) -> jax.Array:
        """Returns the mean of the Dirichlet distribution."""
        return softmax_probabilities(log_concentration(params), mask)

    def penalty(self, params: Params, mask: jax.Array, progress: jax.Array) -> jax.Array:
        """Returns the weighted divergence from the uniform Dirichlet distribution."""
        del progress
        return self.kl_weight * kl_to_uniform(params, mask)
