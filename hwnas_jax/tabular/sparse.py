"""A column of a table that knows few architectures of a space too large to list.

Legend: `n` architectures that are asked for, `N` architectures of the table, `D` decisions, `W`
words of a key.

The number of an architecture (its options in mixed radix) does not fit into 32 bits here. Its key
is that number in `W` words, the first counting most: each word is the number of some neighbouring
decisions. The keys are sorted, so that an architecture is found by halving.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_WORD = 2**31


class SparseColumn(NamedTuple):
    """What a table says of the architectures that it knows; a pytree of arrays.

    Attributes:
      keys: `int32[N, W]`, sorted by rows, each once.
      values: `float32[N]`, of the same architectures.
    """

    keys: np.ndarray | jax.Array
    values: np.ndarray | jax.Array


def make_sparse(widths: Sequence[int], architectures: np.ndarray, values: np.ndarray):
    """Returns the column.

    Args:
      widths: the number of options of each decision.
      architectures: `int32[N, D]`, each once.
      values: `float[N]`.
    """
    keys = keys_of(widths, architectures)
    order = np.lexsort(keys.T[::-1])
    return SparseColumn(keys[order], np.asarray(values, np.float32)[order])


def keys_of(widths: Sequence[int], architectures: np.ndarray | jax.Array) -> Any:
    """Returns the key of each architecture, `int32[n, W]`, NumPy or JAX as it was given."""
    array = np if isinstance(architectures, np.ndarray) else jnp
    words = []
    for decisions in _groups(widths):
        word = array.zeros(len(architectures), np.int32)
        for decision in decisions:
            word = word * np.int32(widths[decision]) + architectures[:, decision]
        words.append(word.astype(np.int32))
    return array.stack(words, axis=1)


def architectures_of(widths: Sequence[int], keys: np.ndarray) -> np.ndarray:
    """Returns the architectures `int32[N, D]` of keys, `int32[N, W]`."""
    columns = [
        column
        for word, decisions in zip(np.asarray(keys).T, _groups(widths), strict=True)
        for column in np.unravel_index(word, [widths[decision] for decision in decisions])
    ]
    return np.stack(columns, axis=1).astype(np.int32)


def read_sparse(widths: Sequence[int], column: SparseColumn, architectures: jax.Array) -> jax.Array:
    """Returns the values of architectures, `float32[n]`; pure.

    Args:
      widths: the number of options of each decision.
      column: of the table.
      architectures: `int32[n, D]`, of the space; those that the table lacks are NaN.
    """
    keys, wanted = jnp.asarray(column.keys), keys_of(widths, jnp.asarray(architectures))
    count = len(keys)

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        later = _before(keys[jnp.minimum(middle, count - 1)], wanted)
        open_ = low < high
        return jnp.where(open_ & later, middle + 1, low), jnp.where(open_ & ~later, middle, high)

    low, high = jnp.zeros_like(wanted[:, 0]), jnp.full_like(wanted[:, 0], count)
    low, _ = jax.lax.fori_loop(0, count.bit_length(), halve, (low, high))
    place = jnp.minimum(low, count - 1)
    found = (keys[place] == wanted).all(axis=1)
    return jnp.where(found, jnp.asarray(column.values)[place], jnp.nan)


def _before(first, second):
    """Returns where a row of `first` (`int32[n, W]`) sorts before that of `second`."""
    less = first[:, -1] < second[:, -1]
    for word in reversed(range(first.shape[1] - 1)):
        one, other = first[:, word], second[:, word]
        less = (one < other) | ((one == other) & less)
    return less


def _groups(widths):
    """Returns the decisions of each word: as many as their number fits into."""
    groups: list[list[int]] = [[]]
    size = 1
    for decision, width in enumerate(widths):
        if size * width > _WORD:
            groups.append([])
            size = 1
        groups[-1].append(decision)
        size *= width
    return groups
