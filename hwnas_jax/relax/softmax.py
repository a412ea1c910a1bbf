"""DARTS: all options mixed by their probabilities, without noise."""

import dataclasses

import jax

from hwnas_jax.relax.base import RELAXATIONS, Gates, Params, Relaxation


@RELAXATIONS.add
@dataclasses.dataclass(frozen=True)
class Softmax(Relaxation):
    """Mixes all options by their probabilities; the temperature changes nothing.

    References: Liu et al., "DARTS: Differentiable Architecture Search", 2018.
    """

    name = "softmax"
    summary = "all options run, mixed by their probabilities (DARTS)"

    def sample(
        self, key: jax.Array, params: Params, mask: jax.Array, temperature: jax.Array
    ) -> Gates:
        """Returns the probabilities as gates."""
        del key, temperature
        return Gates(self.probabilities(params, mask))
