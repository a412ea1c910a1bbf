"""Random keys that cost little: for thousands of searches on a table in one program.

JAX's own generator, Threefry, takes twenty rounds for two numbers, and on a CPU these rounds are a
loop that nothing around it is fused with. On a table, where an evaluation is one look-up, most of
a search is then spent on random numbers. Here a number is a hash of its place and of the key: a few
multiplications, which XLA fuses with what uses them.

The numbers of a key do not depend on `jax.vmap`, as with Threefry. They are no secret to anyone who
sees some of them, so they are for simulation alone.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl

# Odd numbers without a pattern in their bits, one for each use of the hash.
_PLACE, _SEED, _PART, _FOLD = (
    np.uint32(number) for number in (0x9E3779B9, 0x85EBCA6B, 0xB5297A4D, 0x68E31DA5)
)


def quick_keys(seed: int, count: int) -> jax.Array:
    """Returns `count` keys that go wherever `jax.random.key` does.

    Args:
      seed: the same seed gives the same keys.
      count: how many.
    """
    return jax.random.split(jax.random.key(seed, impl=QUICK), count)


def _hash(word):
    """Returns a bijection of `uint32[...]` in which every bit depends on every bit.

    Two multiplications between three shifts, as in the last step of MurmurHash3. The shifts and
    factors are those that C. Wellons found to leave the least bias ("Prospecting for Hash
    Functions", 2018).
    """
    word = (word ^ (word >> 16)) * np.uint32(0x7FEB352D)
    word = (word ^ (word >> 15)) * np.uint32(0x846CA68B)
    return word ^ (word >> 16)


def _seed(seed):
    low = seed.astype(jnp.uint32)
    return jnp.stack([_hash(low + _SEED), _hash(low ^ _PLACE)])


def _fold_in(key, data):
    word = _hash(data.astype(jnp.uint32) + _FOLD)
    return jnp.stack([_hash(key[0] + word), _hash(key[1] ^ word)])


def _split(key, shape):
    word = _hash(_places(shape) + _PART)
    return jnp.stack([_hash(key[0] + word), _hash(key[1] ^ word)], axis=-1)


def _random_bits(key, bit_width, shape):
    if bit_width == 64:
        high, low = _random_bits(key, 32, (2, *shape)).astype(jnp.uint64)
        return (high << np.uint64(32)) | low
    bits = _hash(_hash(_places(shape) * _PLACE + key[0]) ^ key[1])
    return (bits >> np.uint32(32 - bit_width)).astype(f"uint{bit_width}")


def _places(shape):
    return jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)


QUICK = define_prng_impl(
    key_shape=(2,), seed=_seed, split=_split, random_bits=_random_bits, fold_in=_fold_in,
    name="quick", tag="quick",
)  # fmt: skip
"""The generator, for `jax.random.key(seed, impl=QUICK)`."""
