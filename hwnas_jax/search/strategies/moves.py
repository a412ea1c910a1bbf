"""Random architectures and small changes of them: what strategies are made of.

Legend: `n` architectures, `D` decisions, `K` options of the widest decision.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from hwnas_jax.search.strategies.base import Ahead, Outlook


class Options(NamedTuple):
    """The options of every decision, counted and numbered.

    A strategy that keeps them in its state has them computed once for all rounds and seeds.

    Attributes:
      mask: `bool[D, K]`, true where an option exists.
      widths: `int32[D]`, how many options each decision has.
      listed: `int32[D, K]`, the options that exist, in order, before those that do not.
      place: `int32[D, K]`, where each option stands in `listed`.
      free: `int32[D]`, the decisions with several options, in order, before the others.
    """

    mask: jax.Array
    widths: jax.Array
    listed: jax.Array
    place: jax.Array
    free: jax.Array


def options_of(mask: jax.Array | Options) -> Options:
    """Returns the options of a mask, `bool[D, K]`; options are returned as they are."""
    if isinstance(mask, Options):
        return mask
    chex.assert_rank(mask, 2)
    widths = mask.sum(axis=1, dtype=jnp.int32)
    listed = jnp.argsort(~mask, axis=1, stable=True).astype(jnp.int32)
    return Options(
        mask=mask,
        widths=widths,
        listed=listed,
        place=jnp.argsort(listed, axis=1).astype(jnp.int32),
        free=jnp.argsort(widths < 2, stable=True).astype(jnp.int32),
    )


def pick(key: jax.Array, allowed: jax.Array) -> jax.Array:
    """Returns one place of each row, `int32[...]`, each that is allowed with equal probability.

    One uniform number a row is several times cheaper than a Gumbel for each place, which is what
    `jax.random.categorical` takes.

    Args:
      key: random key.
      allowed: `bool[..., K]`; a row without any true gives zero.
    """
    so_far = jnp.cumsum(allowed, axis=-1, dtype=jnp.int32)
    count = so_far[..., -1]
    number = jnp.floor(jax.random.uniform(key, count.shape) * count)
    before = (so_far <= number[..., None]).sum(axis=-1, dtype=jnp.int32)
    return jnp.where(count > 0, before, 0)


def random_architectures(key: jax.Array, options: Options | jax.Array, count: int) -> jax.Array:
    """Returns `int32[count, D]`: every decision takes any of its options with equal probability.

    Args:
      key: random key.
      options: what `options_of` returned, or the mask.
      count: `n`.
    """
    options = options_of(options)
    numbers = _floor(jax.random.uniform(key, (count, len(options.widths))) * options.widths)
    return options.listed[jnp.arange(len(options.widths)), numbers]


def mutated(key: jax.Array, architecture: jax.Array, options: Options | jax.Array) -> jax.Array:
    """Returns `architecture` with one decision, drawn at random, at another of its options.

    Decisions that have a single option are not drawn; where all are such, nothing changes.

    Args:
      key: random key.
      architecture: `int32[D]`, of options that exist.
      options: what `options_of` returned, or the mask.
    """
    options = options_of(options)
    chex.assert_shape(architecture, options.widths.shape)
    which, other = jax.random.uniform(key, (2,))
    decision = options.free[_floor(which * (options.widths > 1).sum())]
    is_drawn = jnp.arange(len(architecture)) == decision
    own = options.place[decision, jnp.where(is_drawn, architecture, 0).sum()]
    place = _floor(other * (options.widths[decision] - 1))
    place = place + (place >= own)  # skips the option that it has
    changes = is_drawn & (options.widths > 1)
    return jnp.where(changes, options.listed[decision, place], architecture)


def changed(key: jax.Array, architecture: jax.Array, mask: jax.Array, times: int) -> jax.Array:
    """Returns an architecture (`int32[D]`) after one to `times` mutations, each as likely."""
    number_key, *keys = jax.random.split(key, times + 1)
    number = jax.random.randint(number_key, (), 1, times + 1)
    for done, own in enumerate(keys):
        architecture = jnp.where(done < number, mutated(own, architecture, mask), architecture)
    return architecture


def _floor(number):
    return jnp.floor(number).astype(jnp.int32)


def within_budget(
    key: jax.Array,
    ahead: Ahead,
    draw: Callable[[jax.Array], jax.Array],
    count: int,
    tries: int,
) -> jax.Array:
    """Returns `int32[count, D]`: of several draws each, the first that is predicted to fit.

    Where none of its draws keeps the budget, that which exceeds it least is taken.

    Args:
      key: random key.
      ahead: predicts whether an architecture keeps the budget.
      draw: `key -> int32[D]`.
      count: `n`.
      tries: draws for each of them.
    """
    drawn = jax.vmap(draw)(jax.random.split(key, count * tries))
    if tries == 1:
        return drawn
    excess = ahead(drawn).excess.reshape(count, tries)
    best = jnp.argmin(jnp.maximum(excess, 0), axis=1)  # the first of equals
    return drawn.reshape(count, tries, -1)[jnp.arange(count), best]


def away_from(ahead: Ahead, known: jax.Array, distance: int = 0) -> Ahead:
    """Returns an outlook in which architectures close to known ones are no members of the space.

    Handed to `within_budget` it makes that prefer what was not evaluated yet.

    Args:
      ahead: the outlook without this.
      known: `int32[m, D]`; a row of negative numbers stands for no architecture.
      distance: in how many decisions an architecture may differ from a known one and is still
        too close to it.
    """

    def outlook_of(architectures: jax.Array) -> Outlook:
        outlook = ahead(architectures)
        differing = (architectures[:, None] != known).sum(axis=-1)
        close = (differing <= distance).any(axis=1)
        return outlook._replace(excess=jnp.where(close, jnp.inf, outlook.excess))

    return outlook_of
