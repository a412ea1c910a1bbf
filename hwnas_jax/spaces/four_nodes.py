"""Cells of four nodes with an edge from every node to every later one, as in NAS-Bench-201.

Each of the six edges carries one operation, the first of which, `none`, cuts it. Edges off every
open path from input to output change nothing, and cells that differ there alone are one network.
"""

import abc
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.nn.paths import on_open_path
from hwnas_jax.spaces.base import Forms, Space

EDGES = tuple((target, source) for target in range(1, 4) for source in range(target))
_NONE = 0


def active_edges(weight):
    """Returns how much of each edge's output reaches the cell's output, `float32[6]`.

    That is with the edge itself taken as open. Exactly zero or one on one-hot rows; between them
    the probability that the edge lies on a path, taking paths as independent.

    Args:
      weight: `float32[6, K]`, `none` first, numpy or jax; further axes behind are carried along.
    """
    return on_open_path(EDGES, 1.0 - weight[:, _NONE])


def _running_sets():
    """Returns which open edges go with each set of running ones: `{bool[6]: bool[P, 6]}`."""
    found: dict[tuple[bool, ...], list[tuple[bool, ...]]] = {}
    for pattern in itertools.product((False, True), repeat=len(EDGES)):
        weight = np.zeros((len(EDGES), 2), np.float32)
        weight[:, _NONE] = np.logical_not(pattern)
        runs = (active_edges(weight) > 0.5) & pattern
        found.setdefault(tuple(runs.tolist()), []).append(pattern)
    return found


_RUNNING_SETS = _running_sets()
# By the set of open edges, a bit each, `bool[64, 6]`.
_RUNS = np.zeros((2 ** len(EDGES), len(EDGES)), bool)
for _runs, _patterns in _RUNNING_SETS.items():
    _RUNS[np.array(_patterns) @ (1 << np.arange(len(EDGES)))] = _runs


def running_edges(architectures: np.ndarray) -> np.ndarray:
    """Returns which edges of `architectures` (`int32[N, 6]`) are open and on an open path."""
    opened = np.packbits(architectures != _NONE, axis=1, bitorder="little")[:, 0]
    return _RUNS.take(opened, axis=0)


class FourNodes(Space, abc.ABC):
    """A space of such cells; its decisions are the `EDGES` in order, `none` their first option."""

    def active(self, weight: jax.Array) -> jax.Array:
        """Returns how much of each decision's output reaches the network's, `float32[D]`."""
        return active_edges(weight)

    def canonical(self, architectures: np.ndarray) -> np.ndarray:
        """Returns `architectures` (`int32[N, 6]`) with `none` on every edge off all open paths."""
        return np.where(running_edges(architectures), architectures, _NONE).astype(np.int32)

    def canonical_mixture(self, weight: jax.Array) -> tuple[Forms, ...]:
        weight = jnp.asarray(weight)
        closed, opened = weight[:, _NONE], weight.sum(axis=1) - weight[:, _NONE]
        cut = jnp.zeros(weight.shape[1], weight.dtype).at[_NONE].set(1.0)
        coefficients, rows = [], []
        for runs, patterns in _RUNNING_SETS.items():
            off = jnp.array([not run for run in runs])
            # Edges that run are open for certain; what the others are only weighs the whole.
            masses = jnp.where(jnp.array(patterns), opened, closed)
            coefficients.append(jnp.where(off, masses, 1.0).prod(axis=1).sum())
            rows.append(jnp.where(off[:, None], cut, weight.at[:, _NONE].set(0.0)))
        return (Forms(np.arange(len(EDGES)), jnp.stack(coefficients), jnp.stack(rows)),)
