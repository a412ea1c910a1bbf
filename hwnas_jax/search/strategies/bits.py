"""Sets of small numbers in the bits of words, where an array of booleans would cost too much.

Legend: `W` words of 32 bits; number `i` is bit `i` modulo 32 of word `i // 32`.
"""

import chex
import jax
import jax.numpy as jnp


def words_for(size: int) -> int:
    """Returns how many words hold the numbers from zero up to `size`, which is not among them."""
    return -(-size // 32)


def packed(numbers: jax.Array, words: int) -> jax.Array:
    """Returns the set of some numbers, `uint32[W]`.

    Args:
      numbers: `int32[n]`, each at most once; negative ones are left out.
      words: `W`.
    """
    chex.assert_rank(numbers, 1)
    bits = jnp.uint32(1) << (numbers & 31).astype(jnp.uint32)
    is_here = (numbers >> 5)[:, None] == jnp.arange(words)
    return jnp.where(is_here, bits[:, None], jnp.uint32(0)).sum(axis=0, dtype=jnp.uint32)


def size(members: jax.Array) -> jax.Array:
    """Returns how many numbers a set (`uint32[W]`) has, `int32[]`."""
    return jax.lax.population_count(members).astype(jnp.int32).sum()


def member(members: jax.Array, place: jax.Array) -> jax.Array:
    """Returns the number that stands at a place of a set, `int32[]`.

    Halves of the word are counted, then halves of the half, as in a binary search.

    Args:
      members: `uint32[W]`.
      place: `int32[]`, from zero; below the size of the set.
    """
    chex.assert_rank(members, 1)
    counts = jax.lax.population_count(members).astype(jnp.int32)
    so_far = jnp.cumsum(counts)
    at = jnp.minimum((so_far <= place).sum(dtype=jnp.int32), len(members) - 1)
    word, place = members[at], place - (so_far - counts)[at]
    number = 32 * at
    for half in (16, 8, 4, 2, 1):
        low = word & jnp.uint32(2**half - 1)
        below = jax.lax.population_count(low).astype(jnp.int32)
        is_above = place >= below
        word = jnp.where(is_above, word >> jnp.uint32(half), low)
        place = place - jnp.where(is_above, below, 0)
        number = number + jnp.where(is_above, half, 0)
    return number
