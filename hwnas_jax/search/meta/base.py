"""Meta-learning: a start from which a few steps lead to a network for a new task.

What is learned over many small tasks is the start itself: the weights of a supernet together with
the parameters of its architecture (`Learned`). A task (`MetaTask`) says how well variables do on
its support, from which they are adapted, and on its query, by which the adaptation is judged. A
`MetaLearner` says what the inner steps of the adaptation are, in which direction a task pulls the
start, and how the start follows the mean of these directions. It knows no network, no search space
and no device: any task that has these two functions will do.

Legend: `S` inner steps, `P` weights of the supernet.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from annotated_types import Gt

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Registry
from hwnas_jax.relax.base import Params

Rate = Annotated[float, Gt(0)]


class Learned(NamedTuple):
    """What is adapted to a task; gradients and directions have the same form.

    Attributes:
      weights: `float32[P]`, or any pytree.
      params: the architecture's parameters, any pytree.
    """

    weights: Any
    params: Params


class MetaTask(NamedTuple):
    """One task.

    Attributes:
      support: `(learned, key, memory) -> (float32[], memory)`, the loss of an inner step.
      query: `(learned, key) -> (float32[], float32[])`, the loss and metric of the judgement.
      memory: what `support` is given at the first inner step, such as the state of a budget.
    """

    support: Callable[[Learned, jax.Array, Any], tuple[jax.Array, Any]]
    query: Callable[[Learned, jax.Array], tuple[jax.Array, jax.Array]]
    memory: Any = ()


class Adapted(NamedTuple):
    """What an adaptation ended with.

    Attributes:
      learned: after the last inner step.
      losses: `float32[S]`, of the support before each step.
      memory: of the task, after the last step.
    """

    learned: Learned
    losses: jax.Array
    memory: Any


class Pull(NamedTuple):
    """Where one task pulls the start.

    Attributes:
      gradient: the direction as a gradient: what is followed downhill.
      support_loss: `float32[]`, before the first inner step.
      query_loss: `float32[]`, after the last one.
      query_metric: `float32[]`, likewise.
    """

    gradient: Learned
    support_loss: jax.Array
    query_loss: jax.Array
    query_metric: jax.Array


def side_by_side(
    weights: optax.GradientTransformation, params: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Returns a transformation of `Learned` that treats its two parts by one of their own each."""

    def init(learned):
        return weights.init(learned.weights), params.init(learned.params)

    def update(gradient, state, learned=None):
        own = Learned(None, None) if learned is None else learned
        by_weights, first = weights.update(gradient.weights, state[0], own.weights)
        by_params, second = params.update(gradient.params, state[1], own.params)
        return Learned(by_weights, by_params), (first, second)

    return optax.GradientTransformation(init, update)


def adapt(
    inner: optax.GradientTransformation,
    start: Learned,
    task: MetaTask,
    key: jax.Array,
    steps: int,
    freedom: jax.Array | float = 1.0,
) -> Adapted:
    """Takes the inner steps of a task, differentiable in the start to any order.

    Args:
      inner: turns gradients of `Learned` into steps.
      start: where the steps begin.
      task: its support is learned from.
      key: random key; every step has one of its own.
      steps: `S`.
      freedom: `float32[]`, what the steps of the architecture's parameters are multiplied with;
        zero leaves them where they are.
    """

    def one(carry, step_key):
        learned, state, memory = carry
        (loss, memory), gradient = jax.value_and_grad(task.support, has_aux=True)(
            learned, step_key, memory
        )
        updates, state = inner.update(gradient, state, learned)
        params = jax.tree.map(lambda update: freedom * update, updates.params)
        learned = optax.apply_updates(learned, updates._replace(params=params))
        return (learned, state, memory), loss

    begin = (start, inner.init(start), task.memory)
    (learned, _, memory), losses = jax.lax.scan(one, begin, jax.random.split(key, steps))
    return Adapted(learned, losses, memory)


@dataclasses.dataclass(frozen=True)
class MetaLearner(abc.ABC):
    """How a start is learned from many tasks.

    The fields of a subclass are its options. By default inner steps are those of gradient descent.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    inner_steps: Annotated[int, Gt(0)] = 5
    """steps by which a task is learned from its support"""
    inner_rate: Rate = 0.1
    """step size of the weights within a task"""
    inner_arch_rate: Rate = 1.0
    """step size of the architecture's parameters within a task"""
    outer_rate: Rate = 1.0
    """step size of the weights from task to task"""
    outer_arch_rate: Rate = 0.001
    """step size of the architecture's parameters from task to task"""

    def inner(self, *, weights_only: bool = False) -> optax.GradientTransformation:
        """Returns what turns the gradients of a task into inner steps.

        Args:
          weights_only: leave the architecture's parameters as they are.
        """
        params = optax.set_to_zero() if weights_only else optax.sgd(self.inner_arch_rate)
        return side_by_side(optax.sgd(self.inner_rate), params)

    @abc.abstractmethod
    def outer(self, steps: int) -> optax.GradientTransformation:
        """Returns how the start follows its direction.

        Args:
          steps: outer steps in all, for a schedule.
        """

    @abc.abstractmethod
    def pull(
        self, key: jax.Array, start: Learned, task: MetaTask, freedom: jax.Array | float = 1.0
    ) -> Pull:
        """Returns where a task pulls the start.

        Args:
          key: random key.
          start: what is learned.
          task: one task.
          freedom: as in `adapt`.
        """


META_LEARNERS: Registry[MetaLearner] = Registry(
    "meta-learner",
    MetaLearner,  # type: ignore[type-abstract]
    "hwnas_jax.meta_learners",
)


def check_learner(learner: MetaLearner) -> None:
    """Checks the shapes of what a learner returns on a toy task, without running it.

    Raises:
      UserError: names the function, what it returned and what the contract asks for.
    """
    start = Learned(jnp.zeros(3), jnp.zeros((2, 2)))

    def loss(learned):
        return (learned.weights**2).sum() + (learned.params**2).sum()

    task = MetaTask(
        lambda learned, key, memory: (loss(learned), memory),
        lambda learned, key: (loss(learned), loss(learned)),
    )

    def every(key):
        optimizer = learner.outer(10)
        state = optimizer.init(start)
        found = learner.pull(key, start, task, jnp.ones(()))
        updates, after = optimizer.update(found.gradient, state, start)
        return found, (start, state), (optax.apply_updates(start, updates), after)

    where = f"meta-learner {learner.name}"
    try:
        found, before, after = jax.eval_shape(every, jax.random.key(0))
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{where} fails on a toy task: {type(error).__name__}: {reason}") from error
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (before, after)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{where}: outer must keep the shapes of what is learned and of its own state, "
            f"{shapes[0]}, got {shapes[1]}"
        )
    for name in ("support_loss", "query_loss", "query_metric"):
        one = getattr(found, name)
        if one.shape != () or one.dtype != jnp.float32:
            raise UserError(f"{where}: {name} must be float32[], got {one.dtype}{list(one.shape)}")
