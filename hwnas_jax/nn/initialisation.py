"""Random numbers for initial weights that trace and compile quickly."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend import random as extend
from jax.flatten_util import ravel_pytree

from hwnas_jax.errors import UserError
from hwnas_jax.nn.variables import Replaced

_WIDTHS = {8: jnp.uint8, 16: jnp.uint16, 32: jnp.uint32}

_Built = TypeVar("_Built")

_MOST_WEIGHTS = 2**31 - 1
"""All weights of a supernet stand in one array, whose positions are 32-bit integers."""


def abstract(build: Callable[[nnx.Rngs], _Built], *, counts_only: bool = False) -> _Built:
    """Returns the result of `build`, with shapes and types in place of arrays.

    Args:
      build: builds a module, or something of several.
      counts_only: the result is only counted and its weights are never drawn. No random numbers are
        traced, which takes half of the time. Random streams that a module keeps are of another kind
        than those of `weight_rngs`.

    Raises:
      UserError: for more weights than one array can hold. Nothing was allocated for them.
    """
    kind = _ZEROS if counts_only else _HASH
    built = nnx.eval_shape(lambda: build(_streams(jax.random.key(0), kind)))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(built) if hasattr(leaf, "shape"))
    if count > _MOST_WEIGHTS:
        raise UserError(
            f"this network, or a part of it, would have {count} weights, "
            f"{4 * count / 2**30:.1f} GiB; at most {_MOST_WEIGHTS} are allowed: lower its "
            f"channels, width or depth"
        )
    return built


def flat_form(shapes: Any) -> tuple[jax.ShapeDtypeStruct, Callable[[jax.Array], Any]]:
    """Returns the shape of all arrays of a tree in one row, and the function that undoes this.

    This is `jax.flatten_util.ravel_pytree` without computing with arrays.

    Args:
      shapes: a tree of arrays or of their shapes and types.
    """
    unravel = []

    def ravel(tree):
        flat, back = ravel_pytree(tree)
        unravel.append(back)
        return flat

    return jax.eval_shape(ravel, shapes), unravel[0]


def weight_rngs(key: jax.Array) -> nnx.Rngs:
    """Returns the random streams for a module's initial weights.

    XLA compiles JAX's random generators once for every array that is drawn. This takes many times
    as long as compiling a network's forward pass. Here the bits of an array are a hash of their
    positions, a dozen integer operations. That is good enough for initial weights, and for nothing
    else.

    Args:
      key: a typed key, `key[]`.
    """
    return _streams(key, _HASH)


def _streams(key, kind):
    data = jax.random.key_data(key).astype(jnp.uint32).reshape(-1)[:2]
    rngs = nnx.Rngs(jax.random.wrap_key_data(data, impl=kind))
    rngs.default.count = _Count(rngs.default.count[...], tag="default")
    return rngs


class _Count(Replaced, nnx.RngCount):
    pass


def _mix(x):
    """Wellons, "Prospecting for Hash Functions", 2018: lowbias32."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _words(key, count):
    return _mix(_mix(jax.lax.iota(jnp.uint32, count) + _mix(key[0])) + _mix(key[1]))


def _seed(seed):
    return jnp.stack([jnp.uint32(0), seed.astype(jnp.uint32)])


def _split(key: jax.Array, shape: Sequence[int]) -> jax.Array:
    return _words(key, 2 * math.prod(shape)).reshape(*shape, 2)


def _bits(key: jax.Array, width: int, shape: Sequence[int]) -> jax.Array:
    return _words(key, math.prod(shape)).reshape(shape).astype(_WIDTHS[width])


def _fold_in(key, data):
    return _mix(key + _mix(data + jnp.arange(1, 3, dtype=jnp.uint32)))


_HASH = extend.define_prng_impl(
    key_shape=(2,), seed=_seed, split=_split, random_bits=_bits, fold_in=_fold_in,
    name="hwnas_hash", tag="hash",
)  # fmt: skip

# "Random" numbers for modules of which only the shapes are wanted.
_ZEROS = extend.define_prng_impl(
    key_shape=(2,), seed=_seed, split=lambda key, shape: jnp.zeros((*shape, 2), jnp.uint32),
    random_bits=lambda key, width, shape: jnp.zeros(shape, _WIDTHS[width]),
    fold_in=lambda key, data: key, name="hwnas_zeros", tag="zeros",
)  # fmt: skip
