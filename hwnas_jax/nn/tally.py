"""Sums over the layers of a network, collected while the network runs.

Legend: `B` batch, `C` channels.

A supernet runs the chosen operations inside `jax.lax.switch`, loops and rules for derivatives of
its own, out of which no layer can hand a value of its own. One thing is summed through all of
them: the gradient of an array that every layer reads. `collected` therefore differentiates by an
array on which no output depends. Where a layer reads it, `_noted` adds to its gradient what the
layer has to say.

A layer is counted only as far as the outputs depend on it. Operations on a path that ends nowhere,
and channels that a mask cuts off, get no gradient and add nothing.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Amount = Callable[[jax.Array, jax.Array], jax.Array]
"""`(what the layer saved, gradient of its output) -> what it adds to the sum`."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Tally:
    """What is collected: the amounts, the array that layers read, and one entry for each layer."""

    amount: Amount
    read: jax.Array
    layers: list[Amount]


# JAX keeps traces of jitted functions apart by this context. None of them may be used for another
# tally, whose array to read is another.
_collecting = jax.make_user_context()


def collected(
    amount: Amount, shape: tuple[int, ...], run: Callable[[], jax.Array], key: jax.Array
) -> jax.Array:
    """Returns the sum of what the layers of a network add, `float32[*shape]`.

    Args:
      amount: which sum, `agreement` or `log_deviation`.
      shape: of the sum.
      run: runs the network and returns its outputs; weights and inputs are constants in it.
      key: of a random direction. The derivative of the outputs along it is zero for no layer on
        which they depend, but by chance.
    """

    def along(read):
        with _collecting(_Tally(amount, read, [])):
            outputs = run()
        return (outputs * jax.random.normal(key, outputs.shape, outputs.dtype)).sum()

    return jax.grad(along)(jnp.zeros(shape, jnp.float32))


def adds(amount: Amount, shape: tuple[int, ...], run: Callable[[], Any]) -> bool:
    """Returns whether any layer adds to a sum; `run` is traced and not run.

    Args:
      amount: as `collected` takes it.
      shape: likewise.
      run: runs the network.
    """
    layers: list[Amount] = []

    def traced(read):
        with _collecting(_Tally(amount, read, layers)):
            return run()

    jax.eval_shape(traced, jax.ShapeDtypeStruct(shape, jnp.float32))
    return bool(layers)


def carried(
    branches: Sequence[Callable[..., Any]], operands: tuple[Any, ...], leading: tuple[int, ...] = ()
) -> tuple[list[Callable[..., Any]], tuple[Any, ...]]:
    """Hands what is collected to branches that must not close over it.

    A function with a rule of its own for its derivative may not read an array from outside. It is
    given the array as one more operand.

    Args:
      branches: functions `(x, *operands)`.
      operands: of the branches.
      leading: axes that all operands have in front of those that a branch sees.

    Returns:
      Branches and operands; those given where nothing is collected.
    """
    tally = _collecting.value
    if tally is None:
        return list(branches), operands

    def reading(branch):
        def run(x, *given):
            with _collecting(dataclasses.replace(tally, read=given[-1])):
                return branch(x, *given[:-1])

        return run

    read = jnp.broadcast_to(tally.read, (*leading, *tally.read.shape))
    return [reading(branch) for branch in branches], (*operands, read)


def note(amount: Amount, saved: Callable[[], jax.Array], value: jax.Array) -> jax.Array:
    """Returns `value`, and adds what a layer has to say to the sum that is collected, if any is.

    Args:
      amount: the sum that the layer adds to.
      saved: returns what `amount` is given; no gradient passes through it.
      value: the output of the layer, or a part of it that every output depends on.
    """
    tally = _collecting.value
    if tally is None or tally.amount is not amount:
        return value
    tally.layers.append(amount)
    return _noted(amount, jax.lax.stop_gradient(saved()), value, tally.read)


def agreement(on: jax.Array, gradient: jax.Array) -> jax.Array:
    """Returns in how many units each two examples agree, `float32[B, B]`.

    Args:
      on: `bool[B, ..., C]`, which units are on for which example.
      gradient: of the units' outputs, of the same shape. Channels without any are left out.
    """
    used = (gradient != 0).any(tuple(range(on.ndim - 1)))
    both = (
        (state & used).reshape(len(on), -1).astype(jnp.float32)
        for state in (on, jnp.logical_not(on))
    )
    return sum((codes @ codes.T for codes in both), jnp.zeros(()))


def log_deviation(variance: jax.Array, gradient: jax.Array) -> jax.Array:
    """Returns the logarithm of a layer's standard deviation, `float32[]`.

    Args:
      variance: `float32[C]`, of each channel, above zero.
      gradient: of what is made of them, `float32[C]`. Channels without any are left out.
    """
    used = gradient != 0
    mean = jnp.where(used, variance, 0.0).sum() / jnp.maximum(used.sum(), 1)
    return jnp.where(used.any(), 0.5 * jnp.log(mean), 0.0)


def relu(x: jax.Array) -> jax.Array:
    """Returns `max(x, 0)`; the units count in `agreement`."""
    return note(agreement, lambda: x > 0, jax.nn.relu(x))


def relu6(x: jax.Array) -> jax.Array:
    """Returns `min(max(x, 0), 6)`; the units count in `agreement`."""
    return note(agreement, lambda: x > 0, jax.nn.relu6(x))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _noted(amount, saved, value, read):
    del amount, saved, read
    return value


_noted.defvjp(
    lambda amount, saved, value, read: (value, saved),
    lambda amount, saved, gradient: (None, gradient, amount(saved, gradient)),
)
