"""Cells of four nodes with an edge from every node to every later one, as in NAS-Bench-201.

Each of the six edges carries one operation. The first operation cuts the edge. An edge that lies on
no open path from input to output changes nothing, so cells that differ only there are one network.

Legend: `N` architectures, `K` operations, `P` sets of edges or sequences, `S` statistics.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.nn.cell_operations import CellOperation, names, place
from hwnas_jax.nn.paths import on_open_path
from hwnas_jax.spaces.core.choices import Choices, Decision, Forms

EDGES = tuple((target, source) for target in range(1, 4) for source in range(target))
_NONE = 0
_TARGETS, _SOURCES = np.array(EDGES).T
_OUTPUT = 3


def active_edges(weight):
    """Returns how much of each edge's output reaches the cell's output, `float32[6]`.

    The edge itself counts as open. The result is exactly zero or one if every row of `weight` is
    one-hot. Otherwise it is the probability that the edge lies on an open path, computed as if
    paths were independent.

    Args:
      weight: `float32[6, K]`, the operation that cuts first, numpy or jax; further axes behind are
        carried along.
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
# The running edges of each set of open edges, `bool[64, 6]`; the set is read as a binary number.
_RUNS = np.zeros((2 ** len(EDGES), len(EDGES)), bool)
for _runs, _patterns in _RUNNING_SETS.items():
    _RUNS[np.array(_patterns) @ (1 << np.arange(len(EDGES)))] = _runs


def _paths():
    """Returns the edges of every path from input to output, short paths first."""
    numbers = {edge: number for number, edge in enumerate(EDGES)}
    between = range(1, _OUTPUT)
    return tuple(
        tuple(
            numbers[target, source] for source, target in itertools.pairwise((0, *nodes, _OUTPUT))
        )
        for length in range(len(between) + 1)
        for nodes in itertools.combinations(between, length)
    )


_PATHS = _paths()


def running_edges(architectures: np.ndarray) -> np.ndarray:
    """Returns which edges of `architectures` (`int32[N, 6]`) are open and on an open path."""
    opened = np.packbits(architectures != _NONE, axis=1, bitorder="little")[:, 0]
    return _RUNS.take(opened, axis=0)


def _followed(chosen, identity):
    """Returns which node each node equals once identities are skipped, and which edges are left.

    Args:
      chosen: `int32[N, 6]`, canonical.
      identity: the option that passes its input on.

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


class FourNodes(Choices):
    """The decisions of such cells: one for each of the `EDGES`, in order.

    Attributes:
      cell_operations: the options of every edge; the first is of kind "zero". A subclass sets them
        on the class, or in its constructor before it calls `_decide`.
    """

    cell_operations: tuple[CellOperation, ...]
    mixes_canonical = True

    def _decide(self) -> None:
        """Sets the decisions.

        Raises:
          UserError: when the first operation does not cut the edge.
        """
        first = self.cell_operations[_NONE]
        if first.kind != "zero":
            raise UserError(
                f"the first operation of {self.name} must be of kind 'zero', which cuts the edge; "
                f"{first.name!r} is of kind {first.kind!r}"
            )
        options = names(self.cell_operations)
        self.decisions = tuple(Decision(f"{target}<-{source}", options) for target, source in EDGES)

    def active(self, weight: jax.Array) -> jax.Array:
        return active_edges(weight)

    def canonical(self, architectures: np.ndarray) -> np.ndarray:
        """Returns `architectures` (`int32[N, 6]`) with every edge cut that is on no open path."""
        return np.where(running_edges(architectures), architectures, _NONE).astype(np.int32)

    def describe(self, architectures: jax.Array) -> jax.Array:
        """Returns the options of the edges, and which sequences of operations lead to the output.

        First come the options, one-hot, those of edges that are on no open path as cut; then, for
        every sequence of one, two and three operations that do not cut, whether it stands on a path
        from input to output. Equal networks get equal numbers.

        Args:
          architectures: `int32[N, 6]`.

        Returns:
          `float32[N, 6 * K + P]`, where `P` is `(K - 1) + (K - 1) ** 2 + (K - 1) ** 3`.

        References: White, Neiswanger and Savani, "BANANAS: Bayesian Optimization with Neural
        Architectures for Neural Architecture Search", AAAI 2021 (the path encoding).
        """
        opened = architectures != _NONE
        operations = jax.nn.one_hot(architectures - 1, self.num_options - 1, dtype=jnp.float32)
        runs = jnp.zeros_like(opened)
        by_length: dict[int, jax.Array] = {}
        for path in _PATHS:
            edges = np.array(path)
            runs = runs.at[:, edges].max(opened[:, edges].all(axis=1, keepdims=True))
            # A row of zeros stands for an edge that is cut, so its paths vanish.
            sequence = jnp.ones((len(architectures), 1), jnp.float32)
            for edge in path:
                sequence = sequence[:, :, None] * operations[:, edge, None, :]
                sequence = sequence.reshape(len(architectures), -1)
            by_length[len(path)] = jnp.maximum(by_length.get(len(path), 0.0), sequence)
        options = super().describe(jnp.where(runs, architectures, _NONE))
        return jnp.concatenate([options, *by_length.values()], axis=1)

    def used(self, architectures: np.ndarray) -> np.ndarray:
        """Returns `architectures` (`int32[N, 6]`) with edges cut into nodes that nobody reads."""
        found = np.array(architectures, np.int32)
        for node in (2, 1):
            unread = (found[:, node == _SOURCES] == _NONE).all(axis=1)
            found[np.ix_(unread, node == _TARGETS)] = _NONE
        return found

    def relations(self, architectures: np.ndarray) -> np.ndarray:
        """Returns counts that describe the cells after a compiler has simplified them.

        A node that one identity alone enters is the node that the identity reads. Operations of
        kind "fixed" that are equal and read the same node are one. See `Choices.relations`.

        Args:
          architectures: `int32[N, 6]`.

        Returns:
          `float64[N, S]`.
        """
        chosen = self.canonical(architectures)
        identity = place(self.cell_operations, "identity")
        node, runs = _followed(chosen, -1 if identity is None else identity)
        fixed = np.array([operation.kind == "fixed" for operation in self.cell_operations])[chosen]
        reads = node[:, _SOURCES]
        # `same[n, i, j]`: edge j computes what edge i computes. The first of them stands for all.
        equal = (chosen[:, :, None] == chosen[:, None]) & (reads[:, :, None] == reads[:, None])
        equal &= fixed[:, :, None] & runs[:, :, None] & runs[:, None]
        same = equal | np.eye(len(EDGES), dtype=bool)
        first = runs & (same.argmax(axis=2) == np.arange(len(EDGES)))
        writes = (same[..., None] & (_TARGETS[:, None] == np.arange(_OUTPUT + 1))).any(axis=2)
        writes &= first[..., None]

        shares = (writes[:, :, None] & writes[:, None]).any(axis=-1)
        follows = np.take_along_axis(writes, reads[:, None, :].repeat(len(EDGES), 1), axis=2)
        beside = reads[:, :, None] == reads[:, None]
        later = np.triu(np.ones((len(EDGES), len(EDGES)), bool), 1)
        kinds = np.eye(len(self.cell_operations))[chosen] * first[..., None]
        alone = (np.ones_like(first), reads == 0, writes[..., _OUTPUT])
        counts = [np.einsum("nek,ne->nk", kinds, which) for which in alone]
        for pairs in (follows, beside & later, shares & later):
            found = np.einsum("nik,nij,njl->nkl", kinds, pairs, kinds)
            if pairs is not follows:  # two operations side by side have no order
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
            # An edge that runs is open, so its row keeps its operations. The other edges are cut,
            # and the probability of their patterns becomes the coefficient.
            masses = jnp.where(jnp.array(patterns), opened, closed)
            coefficients.append(jnp.where(off, masses, 1.0).prod(axis=1).sum())
            rows.append(jnp.where(off[:, None], cut, weight.at[:, _NONE].set(0.0)))
        return (Forms(np.arange(len(EDGES)), jnp.stack(coefficients), jnp.stack(rows)),)
