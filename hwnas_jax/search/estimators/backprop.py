"""Back-propagation through the gates: the first-order gradient of a relaxation."""

import dataclasses
from typing import Any

import jax

from hwnas_jax.relax.base import Params
from hwnas_jax.search.estimators.base import ESTIMATORS, Estimate, Estimator, Problem


@ESTIMATORS.add
@dataclasses.dataclass(frozen=True)
class Backprop(Estimator):
    """Differentiates the loss at drawn gates, the weights held fixed.

    References: Liu et al., "DARTS: Differentiable Architecture Search", 2018, first order.
    """

    name = "backprop"
    summary = "back-propagation through the gates, weights held fixed (first order)"

    def estimate(
        self, key: jax.Array, params: Params, state: Any, problem: Problem
    ) -> tuple[Estimate, Any]:
        """Returns the gradient of one draw."""

        def loss(params, *part):
            return problem.loss(problem.weights, problem.sample(key, params), *part)

        (value, aux), gradient = problem.validation(
            lambda *part: jax.value_and_grad(loss, has_aux=True)(params, *part)
        )
        return Estimate(value, aux, gradient), state
