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
_TARGETS, _SOURCES = np.array(EDGES).T
_OUTPUT = 3
# The operation that hands its input on, and those that have no weights of their own.
_IDENTITY, _WEIGHTLESS = "skip_connect", ("avg_pool_3x3",)


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


def _followed(chosen, identity):
    """Returns which node each node is once identities are followed, and which edges are left.

    Args:
      chosen: `int32[N, 6]`, canonical.
      identity: the option that hands its input on.

    Returns:
      `int[N, 4]` and `bool[N, 6]`.
    """
    node = np.tile(np.arange(_OUTPUT + 1), (len(chosen), 1))
    runs = chosen != _NONE
    for target in range(1, _OUTPUT):
        into = np.flatnonzero(target == _TARGETS)
        skips = runs[:, into] & (chosen[:, into] == identity)
        only = (runs[:, into].sum(axis=1) == 1) & skips.any(axis=1)
        source = np.take_along_axis(node, _SOURCES[into][skips.argmax(axis=1)][:, None], axis=1)
        node[:, target] = np.where(only, source[:, 0], target)
        runs[:, into] &= ~only[:, None]
    return node, runs


class FourNodes(Space, abc.ABC):
    """A space of such cells; its decisions are the `EDGES` in order, `none` their first option."""

    def active(self, weight: jax.Array) -> jax.Array:
        """Returns how much of each decision's output reaches the network's, `float32[D]`."""
        return active_edges(weight)

    def canonical(self, architectures: np.ndarray) -> np.ndarray:
        """Returns `architectures` (`int32[N, 6]`) with `none` on every edge off all open paths."""
        return np.where(running_edges(architectures), architectures, _NONE).astype(np.int32)

    def used(self, architectures: np.ndarray) -> np.ndarray:
        """Returns `architectures` (`int32[N, 6]`) with `none` into nodes that nothing reads."""
        found = np.array(architectures, np.int32)
        for node in (2, 1):
            unread = (found[:, node == _SOURCES] == _NONE).all(axis=1)
            found[np.ix_(unread, node == _TARGETS)] = _NONE
        return found

    def relations(self, architectures: np.ndarray) -> np.ndarray:
        """Returns counts of what a compiler leaves of the cells, `float64[N, S]`.

        A node that only skips is the node it reads, and equal poolings of one node are one.
        """
        options = self.decisions[0].options
        chosen = self.canonical(architectures)
        node, runs = _followed(chosen, options.index(_IDENTITY))
        weightless = np.isin(
            chosen, [options.index(name) for name in _WEIGHTLESS if name in options]
        )
        reads = node[:, _SOURCES]
        # `same[n, i, j]`: edge j computes what edge i does. The first of them stands for all.
        equal = (chosen[:, :, None] == chosen[:, None]) & (reads[:, :, None] == reads[:, None])
        equal &= weightless[:, :, None] & runs[:, :, None] & runs[:, None]
        same = equal | np.eye(len(EDGES), dtype=bool)
        first = runs & (same.argmax(axis=2) == np.arange(len(EDGES)))
        writes = (same[..., None] & (_TARGETS[:, None] == np.arange(_OUTPUT + 1))).any(axis=2)
        writes &= first[..., None]

        shares = (writes[:, :, None] & writes[:, None]).any(axis=-1)
        follows = np.take_along_axis(writes, reads[:, None, :].repeat(len(EDGES), 1), axis=2)
        beside = reads[:, :, None] == reads[:, None]
        later = np.triu(np.ones((len(EDGES), len(EDGES)), bool), 1)
        kinds = np.eye(len(options))[chosen] * first[..., None]
        alone = (np.ones_like(first), reads == 0, writes[..., _OUTPUT])
        counts = [np.einsum("nek,ne->nk", kinds, which) for which in alone]
        for pairs in (follows, beside & later, shares & later):
            found = np.einsum("nik,nij,njl->nkl", kinds, pairs, kinds)
            if pairs is not follows:  # of two side by side either may come first
                found = np.triu(found + np.swapaxes(found, 1, 2))
            counts.append(found.reshape(len(chosen), -1))
        added = writes.sum(axis=1)[:, 1:]
        counts.append(np.stack([(added > least).sum(axis=1) for least in range(3)], axis=1))
        return np.concatenate(counts, axis=1)

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
