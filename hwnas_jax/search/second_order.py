"""What the architecture's gradient knows of the weights that follow it.

The weights answer the architecture, so the validation loss `V(w, a)` depends on the logits `a`
twice: directly, and through weights `w(a)`. The direct part alone is the first-order gradient. A
`Response` adds the other: `step_ahead` takes `w(a)` to be one weight step from here, `at_rest` the
minimum of the training loss `T(w, a)`.

All products with second derivatives are exact, a gradient of an inner product with a gradient.
Reverse mode over reverse mode it is, because operations with their own backward pass have no
forward-mode derivative.

Legend: `P` weights; logits may have any shape.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp


class InnerProblem(NamedTuple):
    """What the weights minimise: the mean of a loss over the training data.

    Attributes:
      loss: `(weights, logits, *part) -> float32[]`, on a part of the data.
      mean: `(function) -> tree`, the mean of `function(*part)` over the parts (micro-batches,
        replicas).
    """

    loss: Callable[..., jax.Array]
    mean: Callable[[Callable[..., Any]], Any]


class Response(NamedTuple):
    """How the weights answer the logits.

    Attributes:
      weights: `float32[P]`, where the validation loss and its gradients are to be taken.
      through_weights: from the validation loss's gradient by the weights, `float32[P]`, to what
        the logits' gradient gains.
    """

    weights: jax.Array
    through_weights: Callable[[jax.Array], jax.Array]


def weight_gradient(inner: InnerProblem, weights: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns the gradient of the training loss by the weights, `float32[P]`."""
    return inner.mean(lambda *part: jax.grad(inner.loss)(weights, logits, *part))


def products(
    inner: InnerProblem, weights: jax.Array, logits: jax.Array, vector: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the second derivatives' products with `vector`, a direction of the weights.

    Args:
      inner: whose mean loss `T` is differentiated.
      weights: `float32[P]`.
      logits: the architecture parameters.
      vector: `float32[P]`.

    Returns:
      `d2T / dw dw` times `vector`, `float32[P]`, and `d2T / da dw` times `vector`, of the logits'
      shape. What is not used costs nothing under `jax.jit`.
    """
    chex.assert_equal_shape([weights, vector])

    def inner_product(weights, logits, *part):
        return jnp.vdot(jax.grad(inner.loss)(weights, logits, *part), vector)

    return inner.mean(lambda *part: jax.grad(inner_product, (0, 1))(weights, logits, *part))


def step_ahead(
    inner: InnerProblem,
    update: Callable[[jax.Array, jax.Array], jax.Array],
    weights: jax.Array,
    logits: jax.Array,
) -> Response:
    """Returns the response of weights that take one step.

    Args:
      inner: what the weights minimise.
      update: `(weights, gradient) -> weights`, the step; differentiated as it is.
      weights: `float32[P]`.
      logits: the architecture parameters.

    References: Liu et al., "DARTS: Differentiable Architecture Search", 2018, equation 7, there
    with a finite difference for the product.
    """
    gradient = weight_gradient(inner, weights, logits)
    ahead, pull_back = jax.vjp(lambda gradient: update(weights, gradient), gradient)
    return Response(ahead, lambda vector: products(inner, weights, logits, *pull_back(vector))[1])


def at_rest(
    inner: InnerProblem,
    weights: jax.Array,
    logits: jax.Array,
    *,
    terms: int,
    step_size: float | jax.Array,
) -> Response:
    """Returns the response of weights that are, and stay, at a minimum of the training loss.

    By the implicit function theorem the logits' gradient gains
    `- (d2T / da dw) (d2T / dw dw)^-1 dV/dw`. The inverse is cut off after a few terms of its
    Neumann series, `step_size * sum_j (1 - step_size * d2T / dw dw)^j`, which converges for a
    `step_size` below two over the largest eigenvalue when all eigenvalues are positive.

    Args:
      inner: what the weights minimise.
      weights: `float32[P]`.
      logits: the architecture parameters.
      terms: of the series, at least one; each costs one call of `products`.
      step_size: of the series.

    References: Lorraine et al., "Optimizing Millions of Hyperparameters by Implicit
    Differentiation", 2020.
    """

    def through_weights(vector):
        def add(_, carry):
            term, gained = carry
            curved, mixed = products(inner, weights, logits, term)
            return term - step_size * curved, gained - step_size * mixed

        return jax.lax.fori_loop(0, terms, add, (vector, jnp.zeros_like(logits)))[1]

    return Response(weights, through_weights)
