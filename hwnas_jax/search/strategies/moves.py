"""Random architectures and small changes of them: what strategies are made of.

Legend: `n` architectures, `D` decisions, `K` options of the widest decision.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from hwnas_jax.search.strategies.base import Ahead, Outlook


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


def random_architectures(key: jax.Array, mask: jax.Array, count: int) -> jax.Array:
    """Returns `int32[count, D]`: every decision takes any of its options with equal probability.

    Args:
      key: random key.
      mask: `bool[D, K]`, true where an option exists.
      count: `n`.
    """
    chex.assert_rank(mask, 2)
    return pick(key, jnp.broadcast_to(mask, (count, *mask.shape)))


def mutated(key: jax.Array, architecture: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns `architecture` with one decision, drawn at random, at another of its options.

    Decisions that have a single option are not drawn; where all are such, nothing changes.

    Args:
      key: random key.
      architecture: `int32[D]`.
      mask: `bool[D, K]`, true where an option exists.
    """
    chex.assert_shape(architecture, mask.shape[:1])
    which_key, option_key = jax.random.split(key)
    others = mask & (jnp.arange(mask.shape[1]) != architecture[:, None])
    has_others = others.any(axis=1)
    decision = pick(which_key, has_others)
    option = pick(option_key, others[decision])
    return architecture.at[decision].set(
        jnp.where(has_others[decision], option, architecture[decision])
    )


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
