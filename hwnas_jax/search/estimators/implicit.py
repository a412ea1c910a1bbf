"""Implicit differentiation: the gradient takes the weights to stay at a minimum."""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from hwnas_jax.relax.base import Params
from hwnas_jax.search.estimators.base import ESTIMATORS, Estimate, Estimator, Problem
from hwnas_jax.search.estimators.second_derivatives import inner_problem, products, slopes


@ESTIMATORS.add
@dataclasses.dataclass(frozen=True)
class Implicit(Estimator):
    """Takes the weights to be, and to stay, at a minimum of the training loss `T`.

    By the implicit function theorem the gradient by the parameters `a` then gains
    `- (d2T / da dw) (d2T / dw dw)^-1 dV/dw`. The inverse is replaced by the first terms of its
    Neumann series, `step * sum_j (1 - step * d2T / dw dw)^j`, which converges when all eigenvalues
    are positive and `step` is below two over the largest. The weight decay is part of `T`.

    References: Lorraine et al., "Optimizing Millions of Hyperparameters by Implicit
    Differentiation", 2020.
    """

    name = "implicit"
    summary = "back-propagation through weights that stay at a minimum (implicit function theorem)"
    reads_training = True

    inner_step_size: Annotated[float, Gt(0)] | None = None
    """step of the Neumann series; None takes the current learning rate of the weights"""
    terms: Annotated[int, Ge(1)] = 3
    """terms of the Neumann series; each costs a product with the second derivatives"""

    def estimate(
        self, key: jax.Array, params: Params, state: Any, problem: Problem
    ) -> tuple[Estimate, Any]:
        """Returns the gradient of one draw."""
        step = problem.learning_rate if self.inner_step_size is None else self.inner_step_size
        inner = inner_problem(problem, key, decay=problem.weight_decay)
        found = slopes(problem, key, problem.weights, params)

        def add(_, carry):
            term, gained = carry
            curved, mixed = products(inner, problem.weights, params, term)
            gained = jax.tree.map(lambda total, part: total - step * part, gained, mixed)
            return term - step * curved, gained

        nothing = jax.tree.map(jnp.zeros_like, params)
        _, gained = jax.lax.fori_loop(0, self.terms, add, (found.by_weights, nothing))
        gradient = jax.tree.map(lambda one, other: one + other, found.by_params, gained)
        return Estimate(found.loss, found.aux, gradient), state
