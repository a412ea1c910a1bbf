"""REINFORCE: the score function with a moving-average baseline."""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt

from hwnas_jax.relax.base import Params, one_hot_gates
from hwnas_jax.search.estimators.base import ESTIMATORS, Estimate, Estimator, Problem


class Baseline(NamedTuple):
    """A moving average of the loss.

    Attributes:
      total: `float32[]`, sum of the losses, each with its weight in the average.
      weight: `float32[]`, sum of those weights; zero before the first step.
    """

    total: jax.Array
    weight: jax.Array


@ESTIMATORS.add
@dataclasses.dataclass(frozen=True)
class Reinforce(Estimator):
    """Draws architectures by their probabilities `p`; only drawn options run.

    The gradient is the mean of `(loss - baseline) * d log p(architecture) / d parameters`. It
    asks nothing of the gates' gradients, and is unbiased, since the baseline is made of earlier
    steps only. How the relaxation draws its gates plays no part.

    References: Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist
    Reinforcement Learning", 1992.
    """

    name = "reinforce"
    summary = "only drawn options run; loss minus a moving average, times the score (REINFORCE)"
    draws_paths = True

    samples: Annotated[int, Ge(1)] = 1
    """architectures drawn a step"""
    decay: Annotated[float, Ge(0), Lt(1)] = 0.95
    """of the moving average: the share of it that a step keeps"""

    def init(self) -> Baseline:
        """Returns a baseline that has seen nothing."""
        return Baseline(jnp.zeros(()), jnp.zeros(()))

    def estimate(
        self, key: jax.Array, params: Params, state: Any, problem: Problem
    ) -> tuple[Estimate, Any]:
        """Returns the mean over drawn architectures."""
        baseline = jnp.where(state.weight > 0, state.total / jnp.maximum(state.weight, 1e-9), 0.0)

        def log_probability(params, architecture):
            chosen = jnp.take_along_axis(
                problem.probabilities(params), architecture[:, None], axis=-1
            )
            return jnp.log(chosen).sum()

        def one(key, *part):
            share = problem.probabilities(params)
            architecture = jax.random.categorical(key, jnp.log(share), axis=-1)
            gates = one_hot_gates(architecture, share.shape[-1], sampled=True)
            loss, aux = problem.loss(problem.weights, gates, *part)
            score = jax.grad(log_probability)(params, architecture)
            return Estimate(loss, aux, jax.tree.map(lambda s: (loss - baseline) * s, score))

        def every(*part):
            if self.samples == 1:
                return one(key, *part)
            drawn = jax.lax.map(lambda key: one(key, *part), jax.random.split(key, self.samples))
            return jax.tree.map(lambda leaf: leaf.mean(0), drawn)

        # Replicas may draw architectures of their own, so losses meet their scores before the mean.
        found = problem.validation(every)
        kept = Baseline(
            self.decay * state.total + (1 - self.decay) * found.loss,
            self.decay * state.weight + (1 - self.decay),
        )
        return found, kept
