"""AdvantageNAS: each drawn option is credited with its own share of the loss."""

import dataclasses

import jax
import jax.numpy as jnp

from hwnas_jax.relax.base import RELAXATIONS, Gates, Params, Relaxation, draw, masked


@jax.custom_vjp
def _drawn(logits: jax.Array, hard: jax.Array) -> jax.Array:
    del logits
    return hard


def _forward(logits, hard):
    return hard, (jax.nn.softmax(logits), hard)


def _backward(residuals, slope):
    share, hard = residuals
    advantage = jnp.sum(hard * slope, -1, keepdims=True)
    return advantage * (hard - share), None


_drawn.defvjp(_forward, _backward)


@RELAXATIONS.add
@dataclasses.dataclass(frozen=True)
class Advantage(Relaxation):
    """One-hot gates drawn by their probabilities; only the drawn option runs.

    The derivative of the loss by the gate of a drawn option says, to first order, how far the loss
    lies above what it would be without that option. This advantage stands in for the loss in a
    score-function gradient: a decision's logits follow advantage * (one-hot - probabilities). The
    other decisions then add no noise of their own. Its expectation is the exact gradient where the
    loss is linear in the gates. The temperature changes nothing.

    References: Sato et al., "AdvantageNAS: Efficient Neural Architecture Search with Credit
    Assignment", 2021.
    """

    name = "advantage"
    summary = "only the drawn option runs, credited with its own part of the loss (AdvantageNAS)"
    draws_paths = True

    def sample(
        self, key: jax.Array, params: Params, mask: jax.Array, temperature: jax.Array
    ) -> Gates:
        """Returns one-hot gates and the drawn options."""
        del temperature
        index, hard = draw(key, params, mask)
        return Gates(_drawn(masked(params, mask), hard), index)
