"""How a choice becomes differentiable: from parameters to gates.

Legend: `D` decisions, `K` options of the widest decision.

A `Relaxation` owns what the parameters of an architecture mean: how they begin, how gates are drawn
from them, which probabilities they stand for, what they are penalised for, and how they follow
their gradient. It knows no search space, and a search space knows no relaxation: what passes
between the two is `Gates`. The cost term and the derivation read the same `probabilities`.

A method that differs only in how a gradient reaches the parameters (straight-through, ReinMax,
AdvantageNAS) is a `custom_vjp` inside `sample`.
"""

import abc
import dataclasses
from typing import Annotated, Any, ClassVar, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge, Gt

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Registry

_MASKED = -1e9

Params = Any
"""The parameters of an architecture: any pytree of arrays."""


class Gates(NamedTuple):
    """What a supernet consumes.

    Attributes:
      weight: `float32[D, K]`, the factor on each option's output; zero where masked.
      index: `int32[D]` or None. When set, only option `index[d]` of decision `d` runs and its
        output is multiplied by `weight[d, index[d]]` (value one, gradient of the relaxation).
        When None, every option runs and the outputs are mixed.
    """

    weight: jax.Array
    index: jax.Array | None = None  # type: ignore[assignment]  # tuple.index is not meant


@dataclasses.dataclass(frozen=True)
class Relaxation(abc.ABC):
    """How the choice of an architecture becomes differentiable.

    The fields of a subclass are its options. By default the parameters are logits `float32[D, K]`
    that start at zero, stand for their softmax, and follow Adam.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
      has_logits: whether the parameters are logits `float32[D, K]` of independent choices. A space
        that scores its options by their weights adds those scores to them.
      chooses_several: whether an architecture may keep more than one option of a decision. Gates
        then need not sum to one, so that only spaces which add up their options' outputs
        (`Space.adds_options`) can use them.
      draws_paths: whether only a drawn option of every decision runs, so that its gates have an
        index. Replicas that draw paths of their own then run different operations.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    has_logits: ClassVar[bool] = True
    chooses_several: ClassVar[bool] = False
    draws_paths: ClassVar[bool] = False

    learning_rate: Annotated[float, Gt(0)] = 0.05
    """of the architecture's parameters"""
    decay: Annotated[float, Ge(0)] = 0.0
    """weight decay of the architecture's parameters"""

    def init(self, key: jax.Array, mask: jax.Array) -> Params:
        """Returns the initial parameters, which favour nothing.

        Args:
          key: random key.
          mask: `bool[D, K]`, true where an option exists.
        """
        del key
        return jnp.zeros(mask.shape, jnp.float32)

    @abc.abstractmethod
    def sample(
        self, key: jax.Array, params: Params, mask: jax.Array, temperature: jax.Array
    ) -> Gates:
        """Returns gates, differentiable in the parameters.

        Args:
          key: random key of the draw.
          params: as `init` returns them.
          mask: `bool[D, K]`.
          temperature: `float32[]`, falls during the search; a method may not need it.
        """

    def probabilities(self, params: Params, mask: jax.Array) -> jax.Array:
        """Returns the probability of each option, `float32[D, K]`; rows sum to one.

        Decisions are independent. This is the only place that says what parameters mean.
        """
        return softmax_probabilities(params, mask)

    def kept(self, params: Params, mask: jax.Array) -> jax.Array:
        """Returns which options an architecture keeps, `bool[D, K]`: by default the likeliest."""
        share = jnp.where(mask, self.probabilities(params, mask), -1.0)
        return jax.nn.one_hot(share.argmax(-1), mask.shape[-1], dtype=bool)

    def penalty(self, params: Params, mask: jax.Array, progress: jax.Array) -> jax.Array:
        """Returns what is added to the loss of the parameters, `float32[]`.

        Args:
          params: as `init` returns them.
          mask: `bool[D, K]`.
          progress: `float32[]`, share of the architecture steps that are done, in [0, 1].
        """
        del params, mask, progress
        return jnp.zeros(())

    def optimizer(self) -> optax.GradientTransformation:
        """Returns how the parameters follow their gradient."""
        return optax.chain(
            optax.add_decayed_weights(self.decay),
            optax.adam(self.learning_rate, b1=0.5, b2=0.999),
        )


RELAXATIONS: Registry[Relaxation] = Registry("relaxation", Relaxation, "hwnas_jax.relaxations")  # type: ignore[type-abstract]


def masked(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns `logits` (`float32[D, K]`) with options outside `mask` (`bool[D, K]`) ruled out."""
    return jnp.where(mask, logits, _MASKED)


def softmax_probabilities(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns the softmax of `logits` (`float32[D, K]`) over the options that exist."""
    chex.assert_rank(logits, 2)
    chex.assert_equal_shape([logits, mask])
    return jax.nn.softmax(masked(logits, mask), axis=-1)


def draw(key: jax.Array, logits: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws an option of every decision by the softmax of the logits.

    Args:
      key: random key.
      logits: `float32[D, K]`.
      mask: `bool[D, K]`.

    Returns:
      The options, `int32[D]`, and one-hot rows of them, `float32[D, K]`.
    """
    index = jax.random.categorical(key, masked(logits, mask), axis=-1).astype(jnp.int32)
    return index, jax.nn.one_hot(index, mask.shape[-1], dtype=jnp.float32)


def one_hot_gates(architecture: jax.Array, num_options: int, *, sampled: bool = False) -> Gates:
    """Returns the gates that stand for one architecture.

    Args:
      architecture: `int32[D]`.
      num_options: `K`.
      sampled: whether only the chosen options shall run.
    """
    chex.assert_rank(architecture, 1)
    weight = jax.nn.one_hot(architecture, num_options, dtype=jnp.float32)
    return Gates(weight, jnp.asarray(architecture, jnp.int32) if sampled else None)


def straight_through(relaxed: jax.Array, index: jax.Array) -> jax.Array:
    """Returns one-hot rows in value, with the gradient of `relaxed`.

    Args:
      relaxed: `float32[D, K]`.
      index: `int32[D]`, the option of each row that is one.
    """
    hard = jax.nn.one_hot(index, relaxed.shape[-1], dtype=relaxed.dtype)
    return hard + (relaxed - jax.lax.stop_gradient(relaxed))


def check_relaxation(relaxation: Relaxation, mask: np.ndarray) -> None:
    """Checks the shapes of what a relaxation returns for a space, without running it.

    Args:
      relaxation: the method.
      mask: `bool[D, K]` of the space.

    Raises:
      UserError: names the function, what it returned and what the contract asks for.
    """

    def every(key, mask, temperature):
        params = relaxation.init(key, mask)
        gates = relaxation.sample(key, params, mask, temperature)
        share = relaxation.probabilities(params, mask)
        penalty = relaxation.penalty(params, mask, jnp.zeros(()))
        optimizer = relaxation.optimizer()
        state = optimizer.init(params)
        updates, after = optimizer.update(params, state, params)
        return gates, share, penalty, (params, state), (optax.apply_updates(params, updates), after)

    where = f"relaxation {relaxation.name}"
    key = jax.eval_shape(lambda: jax.random.key(0))
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    try:
        gates, share, penalty, before, after = jax.eval_shape(
            every, key, jax.ShapeDtypeStruct(mask.shape, bool), scalar
        )
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{where} fails on {mask.shape} options: {reason}") from error
    if not isinstance(gates, Gates):
        raise UserError(f"{where}: sample must return Gates, got {type(gates).__name__}")
    for what, found, shape in (
        ("sample's weight", gates.weight, mask.shape),
        ("probabilities", share, mask.shape),
        ("penalty", penalty, ()),
    ):
        if found.shape != shape or found.dtype != jnp.float32:
            raise UserError(
                f"{where}: {what} must be float32{list(shape)}, got {found.dtype}"
                f"{list(found.shape)}"
            )
    if relaxation.draws_paths != (gates.index is not None):
        raise UserError(
            f"{where}: draws_paths is {relaxation.draws_paths}, but sample's gates have "
            f"{'no' if gates.index is None else 'an'} index"
        )
    if gates.index is not None and (
        gates.index.shape != mask.shape[:1] or gates.index.dtype != jnp.int32
    ):
        raise UserError(
            f"{where}: sample's index must be int32{list(mask.shape[:1])}, got "
            f"{gates.index.dtype}{list(gates.index.shape)}"
        )
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (before, after)]
    for number, what in enumerate(("parameters", "its own state")):
        if shapes[0][number] != shapes[1][number]:
            raise UserError(
                f"{where}: the optimizer must keep the shapes of {what}, "
                f"{shapes[0][number]}, got {shapes[1][number]}"
            )
    if relaxation.has_logits and shapes[0][0] != (mask.shape, jnp.float32):
        raise UserError(
            f"{where}: parameters must be logits float32{list(mask.shape)}, or has_logits False, "
            f"got {shapes[0][0]}"
        )
