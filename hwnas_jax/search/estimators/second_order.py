"""Second order: the gradient knows that the weights take one more step."""

import dataclasses
from typing import Annotated, Any

import jax
from annotated_types import Gt

from hwnas_jax.relax.base import Params
from hwnas_jax.search.estimators.base import ESTIMATORS, Estimate, Estimator, Problem
from hwnas_jax.search.estimators.second_derivatives import (
    inner_problem,
    products,
    slopes,
    weight_gradient,
)


@ESTIMATORS.add
@dataclasses.dataclass(frozen=True)
class SecondOrder(Estimator):
    """Judges the architecture at weights that are one step ahead, and differentiates that step.

    The loss that is reported is that of the weights one step ahead. The step is differentiated as
    the weight optimiser takes it, clipping and momentum included.

    References: Liu et al., "DARTS: Differentiable Architecture Search", 2018, equation 7; there a
    finite difference stands for the product with the second derivatives.
    """

    name = "second_order"
    summary = "back-propagation through the next weight step as well (second order)"
    reads_training = True

    inner_step_size: Annotated[float, Gt(0)] | None = None
    """size of a plain gradient step to look ahead; None takes the weight optimiser's own step"""

    def estimate(
        self, key: jax.Array, params: Params, state: Any, problem: Problem
    ) -> tuple[Estimate, Any]:
        """Returns the gradient of one draw."""

        def step(gradient):
            if self.inner_step_size is None:
                return problem.update(problem.weights, gradient)
            return problem.weights - self.inner_step_size * gradient

        inner = inner_problem(problem, key)
        ahead, pull_back = jax.vjp(step, weight_gradient(inner, problem.weights, params))
        found = slopes(problem, key, ahead, params)
        (vector,) = pull_back(found.by_weights)
        _, through_weights = products(inner, problem.weights, params, vector)
        gradient = jax.tree.map(lambda one, other: one + other, found.by_params, through_weights)
        return Estimate(found.loss, found.aux, gradient), state
