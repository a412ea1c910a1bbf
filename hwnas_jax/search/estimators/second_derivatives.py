"""Products with the second derivatives of the loss that the weights minimise.

The weights answer the architecture, so the validation loss `V(w, a)` depends on the architecture's
parameters `a` twice: directly, and through weights `w(a)`. Back-propagation sees the direct part
alone. `SecondOrder` and `Implicit` add the other part, for which they need products of a vector
with the second derivatives of the training loss `T(w, a)`.

The products are exact: each is the gradient of an inner product with a gradient, by reverse mode
over reverse mode, because operations with their own backward pass have no forward-mode derivative.

Legend: `P` weights of the supernet.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from hwnas_jax.relax.base import Params
from hwnas_jax.search.estimators.base import Mean, Problem


class Inner(NamedTuple):
    """What the weights minimise: the mean of a loss over the training half.

    Attributes:
      loss: `(weights, params, *part) -> float32[]`.
      mean: as `Problem.training`.
    """

    loss: Callable[..., jax.Array]
    mean: Mean


class Slopes(NamedTuple):
    """The validation loss and its two gradients.

    Attributes:
      loss: `float32[]`.
      aux: what `Problem.loss` reported.
      by_params: of the structure of the architecture's parameters.
      by_weights: `float32[P]`.
    """

    loss: jax.Array
    aux: Any
    by_params: Params
    by_weights: jax.Array


def at_draw(problem: Problem, key: jax.Array) -> Callable[..., tuple[jax.Array, Any]]:
    """Returns the loss as `(weights, params, *part) -> (float32[], aux)`, for one draw of gates.

    Both halves of the data use the same draw, so that the weights that answer are those on the path
    that is judged.
    """

    def loss(weights, params, *part):
        return problem.loss(weights, problem.sample(key, params), *part)

    return loss


def inner_problem(problem: Problem, key: jax.Array, *, decay: float = 0.0) -> Inner:
    """Returns the training loss at the gates of one draw.

    Args:
      problem: what is differentiated.
      key: of the draw.
      decay: `decay / 2 * |weights|^2` is added to the loss.
    """
    loss = at_draw(problem, key)

    def decayed(weights, params, *part):
        return loss(weights, params, *part)[0] + 0.5 * decay * jnp.vdot(weights, weights)

    return Inner(decayed, problem.training)


def slopes(problem: Problem, key: jax.Array, weights: jax.Array, params: Params) -> Slopes:
    """Returns the validation loss with its gradients.

    Args:
      problem: what is differentiated.
      key: of the draw.
      weights: `float32[P]`, where the gradients are taken.
      params: the architecture's parameters.
    """
    both = jax.value_and_grad(at_draw(problem, key), argnums=(1, 0), has_aux=True)
    (loss, aux), gradients = problem.validation(lambda *part: both(weights, params, *part))
    return Slopes(loss, aux, *gradients)


def weight_gradient(inner: Inner, weights: jax.Array, params: Params) -> jax.Array:
    """Returns the gradient of the training loss by the weights, `float32[P]`."""
    return inner.mean(lambda *part: jax.grad(inner.loss)(weights, params, *part))


def products(
    inner: Inner, weights: jax.Array, params: Params, vector: jax.Array
) -> tuple[jax.Array, Params]:
    """Returns the second derivatives' products with `vector`, a direction of the weights.

    Args:
      inner: whose mean loss `T` is differentiated.
      weights: `float32[P]`.
      params: the architecture's parameters.
      vector: `float32[P]`.

    Returns:
      `d2T / dw dw` times `vector`, `float32[P]`, and `d2T / da dw` times `vector`, of the structure
      of `params`. A product that is not used costs nothing under `jax.jit`.
    """
    chex.assert_equal_shape([weights, vector])

    def inner_product(weights, params, *part):
        return jnp.vdot(jax.grad(inner.loss)(weights, params, *part), vector)

    return inner.mean(lambda *part: jax.grad(inner_product, (0, 1))(weights, params, *part))
