"""The choice of which two earlier nodes each node of a cell of DARTS reads.

A decision for each node chooses one pair. The decisions of a space are, for each kind of cell, the
operations of all edges, then the pairs of all nodes that have a choice.

Legend: `E` edges, `O` operations.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.nn.darts import INPUTS, OPERATIONS
from hwnas_jax.nn.darts import NODES as INNER
from hwnas_jax.nn.graph import graph_edges
from hwnas_jax.relax.base import Gates

EDGES = graph_edges(INPUTS, INNER)
NODES = range(INPUTS, INPUTS + INNER)
# The pairs of nodes that each node may read. The first inner node has no choice.
PAIRS = {node: tuple(itertools.combinations(range(node), 2)) for node in NODES}
CHOOSING = [node for node in NODES if len(PAIRS[node]) > 1]
PER_CELL = len(EDGES) + len(CHOOSING)


def pair_row(kind: int, node: int) -> int:
    """Returns the number of the decision on the pair that a node reads."""
    return kind * PER_CELL + len(EDGES) + CHOOSING.index(node)


def mixed_gates(gates: Gates, kind: int) -> tuple[jax.Array, jax.Array]:
    """Returns the weights `float32[E, O]` of a cell's operations and the factor `[E]` of each edge.

    The factor is the sum of the gates of the pairs that hold the edge.

    Args:
      gates: the gates of the space.
      kind: the place of the cell in `KINDS`.
    """
    start = kind * PER_CELL
    factors = []
    for node in NODES:
        if len(PAIRS[node]) == 1:
            factors += [jnp.ones(len(PAIRS[node][0]), gates.weight.dtype)]
            continue
        reads = np.array([[source in pair for source in range(node)] for pair in PAIRS[node]])
        factors.append(gates.weight[pair_row(kind, node), : len(reads)] @ reads)
    weight = gates.weight[start : start + len(EDGES), : len(OPERATIONS)]
    return weight, jnp.concatenate(factors).astype(weight.dtype)


def drawn_gates(gates, kind):
    """Returns the source, operation, weight and factor of each of a cell's eight drawn edges."""
    sources, rows, factors = [], [], []
    for node in NODES:
        if len(PAIRS[node]) == 1:
            pair, factor = jnp.array(PAIRS[node][0]), jnp.ones((), gates.weight.dtype)
        else:
            row = pair_row(kind, node)
            drawn = gates.index[row]
            pair, factor = jnp.array(PAIRS[node])[drawn], gates.weight[row, drawn]
        sources.append(pair)
        rows.append(kind * PER_CELL + EDGES.index((node, 0)) + pair)
        factors += [factor, factor]
    rows = jnp.concatenate(rows)
    options = gates.index[rows]
    return jnp.concatenate(sources), options, gates.weight[rows, options], jnp.stack(factors)
