"""FairDARTS: every option has a gate of its own, so that options do not compete."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt

from hwnas_jax.relax.base import RELAXATIONS, Gates, Params, Relaxation, softmax_probabilities


@RELAXATIONS.add
@dataclasses.dataclass(frozen=True)
class FairDARTS(Relaxation):
    """Adds up all options, each times the sigmoid of its parameter; the temperature is not used.

    Several options of a decision may have a gate near one. An architecture of this package still
    has one option a decision, so the costs and the derivation read sigmoids that are divided by
    their sum: of two options with equal gates, each counts half. `kept` tells which options the
    method itself would keep.

    References: Chu et al., "Fair DARTS: Eliminating Unfair Advantages in Differentiable
    Architecture Search", 2020.
    """

    name = "fair_darts"
    summary = "all options run, each with a sigmoid gate of its own (FairDARTS)"
    has_logits = False
    chooses_several = True

    zero_one_weight: Annotated[float, Ge(0)] = 10.0
    """weight of the penalty that drives gates to zero or one"""
    threshold: Annotated[float, Gt(0), Lt(1)] = 0.85
    """gate above which an option is kept"""

    def sample(
        self, key: jax.Array, params: Params, mask: jax.Array, temperature: jax.Array
    ) -> Gates:
        """Returns the sigmoids as gates; rows need not sum to one."""
        del key, temperature
        return Gates(self.gates(params, mask))

    def gates(self, params: Params, mask: jax.Array) -> jax.Array:
        """Returns the sigmoids of the options that exist, `float32[D, K]`."""
        return jnp.where(mask, jax.nn.sigmoid(params), 0.0)

    def kept(self, params: Params, mask: jax.Array) -> jax.Array:
        """Returns the options whose gate lies above the threshold, `bool[D, K]`.

        A row may hold several, or none.
        """
        return self.gates(params, mask) > self.threshold

    def probabilities(self, params: Params, mask: jax.Array) -> jax.Array:
        """Returns the sigmoids divided by their sum over each decision."""
        return softmax_probabilities(jax.nn.log_sigmoid(params), mask)

    def penalty(self, params: Params, mask: jax.Array, progress: jax.Array) -> jax.Array:
        """Returns -weight times the mean squared distance of the gates from one half."""
        del progress
        distance = jnp.where(mask, jax.nn.sigmoid(params) - 0.5, 0.0)
        return -self.zero_one_weight * jnp.sum(distance**2) / mask.sum()
