"""Beta-DARTS: softmax gates, with a penalty that keeps the logits from growing."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge

from hwnas_jax.relax.base import RELAXATIONS, Params, masked
from hwnas_jax.relax.softmax import Softmax


@RELAXATIONS.add
@dataclasses.dataclass(frozen=True)
class BetaDARTS(Softmax):
    """Mixes all options by their probabilities and penalises the logsumexp of each decision.

    The gradient of the penalty by a logit is the probability of its option: the more an option
    leads, the more it is held back.

    Only the idea, a penalty on the logsumexp of the logits, is the paper's; its schedule and weight
    were not at hand. That the mean is taken over decisions, that the weight grows in proportion to
    the progress of the search, and the default weight are choices made here.

    References: Ye et al., "beta-DARTS: Beta-Decay Regularization for Differentiable Architecture
    Search", 2022.
    """

    name = "beta_darts"
    summary = "all options run, mixed by their probabilities, which are held even (beta-DARTS)"

    penalty_weight: Annotated[float, Ge(0)] = 1.0
    """weight of the penalty at the end of the search; it grows from zero"""

    def penalty(self, params: Params, mask: jax.Array, progress: jax.Array) -> jax.Array:
        """Returns weight * progress * the mean logsumexp over decisions."""
        each = jax.nn.logsumexp(masked(params, mask), axis=-1)
        return self.penalty_weight * progress * jnp.mean(each)
