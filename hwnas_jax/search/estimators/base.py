"""How the gradient of the task's loss reaches the parameters of the architecture.

Legend: `P` weights of the supernet, `D` decisions, `K` options of the widest decision.

An `Estimator` is handed a `Problem`: the loss at given gates, how gates are drawn from the
parameters, and means over the two halves of the data. It returns the loss and its gradient by the
parameters. The hardware term is not its business: the costs are known functions of the
probabilities and are differentiated exactly.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from hwnas_jax.registry import Registry
from hwnas_jax.relax.base import Gates, Params

Mean = Callable[[Callable[..., Any]], Any]
"""`(function) -> tree`: the mean of `function(*part)` over micro-batches and replicas."""


class Problem(NamedTuple):
    """What the architecture's loss is made of.

    Attributes:
      weights: `float32[P]`, the supernet's.
      loss: `(weights, gates, *part) -> (float32[], aux)`, the task's loss on a part of a batch;
        `aux` is a tree of arrays to report.
      sample: `(key, params) -> Gates`.
      probabilities: `params -> float32[D, K]`.
      validation: mean over the half of the data that the architecture learns from.
      training: mean over the half that the weights learn from.
      update: `(weights, gradient) -> weights`, the weight optimiser's own next step.
      weight_decay: of the weights, as part of what they minimise.
      learning_rate: `float32[]`, the weights' current one.
    """

    weights: jax.Array
    loss: Callable[..., tuple[jax.Array, Any]]
    sample: Callable[[jax.Array, Params], Gates]
    probabilities: Callable[[Params], jax.Array]
    validation: Mean
    training: Mean
    update: Callable[[jax.Array, jax.Array], jax.Array]
    weight_decay: float
    learning_rate: jax.Array


class Estimate(NamedTuple):
    """A loss and its gradient.

    Attributes:
      loss: `float32[]`.
      aux: what `Problem.loss` reported, averaged.
      gradient: by the parameters, of their structure.
    """

    loss: jax.Array
    aux: Any
    gradient: Params


@dataclasses.dataclass(frozen=True)
class Estimator(abc.ABC):
    """A way to estimate the gradient of the task's loss by the architecture's parameters.

    The fields of a subclass are its options.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
      reads_training: whether it reads the half of the data that the weights learn from.
      draws_paths: whether it runs only a drawn option of every decision, whatever the relaxation
        does.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reads_training: ClassVar[bool] = False
    draws_paths: ClassVar[bool] = False

    def init(self) -> Any:
        """Returns the state carried from step to step; by default none."""
        return ()

    @abc.abstractmethod
    def estimate(
        self, key: jax.Array, params: Params, state: Any, problem: Problem
    ) -> tuple[Estimate, Any]:
        """Returns the loss with its gradient, and the state after.

        Args:
          key: random key of the step.
          params: the architecture's parameters.
          state: as `init` returns it.
          problem: what is differentiated.
        """


ESTIMATORS: Registry[Estimator] = Registry("estimator", Estimator, "hwnas_jax.estimators")  # type: ignore[type-abstract]


def check_estimator(estimator: Estimator, params: Params) -> None:
    """Checks the shapes of what an estimator returns, on a problem of one weight.

    Args:
      estimator: the method.
      params: parameters (or their shapes) `float32[D, K]` of a relaxation with logits.

    Raises:
      UserError: says what was returned and what the contract asks for.
    """
    from hwnas_jax.errors import UserError

    def mean(function):
        return function(jnp.zeros(()))

    def every(key, params):
        problem = Problem(
            weights=jnp.zeros(1),
            loss=lambda weights, gates, part: (
                weights[0] + gates.weight.sum() + part, {"loss": part}
            ),
            sample=lambda key, params: Gates(jax.nn.softmax(params)),
            probabilities=jax.nn.softmax,
            validation=mean, training=mean, update=lambda weights, gradient: weights - gradient,
            weight_decay=0.0, learning_rate=jnp.ones(()),
        )  # fmt: skip
        state = estimator.init()
        return state, estimator.estimate(key, params, state, problem)

    key = jax.eval_shape(lambda: jax.random.key(0))
    where = f"estimator {estimator.name}"
    try:
        before, (estimate, after) = jax.eval_shape(every, key, params)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{where} fails: {reason}") from error
    if not isinstance(estimate, Estimate) or estimate.loss.shape != ():
        raise UserError(f"{where}: estimate must return an Estimate with a loss float32[] first")
    for what, one, other in (
        ("the gradient must be like the parameters", estimate.gradient, params),
        ("the state must stay like that of init", after, before),
    ):
        shapes = [jax.tree.map(lambda a: (a.shape, a.dtype), tree) for tree in (one, other)]
        if shapes[0] != shapes[1]:
            raise UserError(f"{where}: {what}, {shapes[1]}, got {shapes[0]}")
