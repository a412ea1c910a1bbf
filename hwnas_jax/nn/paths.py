"""Finds the edges of a graph that lie on a path from its first node to its last.

Legend: `E` edges.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np


def open_paths(
    edges: Sequence[tuple[int, int]], is_open: Any, ends: Sequence[int] = ()
) -> tuple[list[Any], list[Any]]:
    """Returns which nodes open edges connect to the first node, and which to an end.

    The results are exactly zero or one if `is_open` is. Otherwise they are the probability that
    some path is open, computed as if paths were independent.

    Args:
      edges: `(target, source)` of each edge, sources below targets.
      is_open: `float32[E, ...]`, numpy or jax; further axes are carried along.
      ends: nodes that count as ends beside the last node.

    Returns:
      Two lists with an entry for each node, `float32[...]`.
    """
    nodes = max(target for target, _ in edges) + 1
    one = is_open[0] * 0.0 + 1.0

    def spread(side, order, starts):
        found: dict[int, Any] = {}
        for node in order:
            closed = one
            for edge, pair in enumerate(edges):
                if pair[side] == node and node not in starts:
                    closed = closed * (1.0 - found[pair[1 - side]] * is_open[edge])
            found[node] = one if node in starts else 1.0 - closed
        return [found[node] for node in range(nodes)]

    return spread(0, range(nodes), (0,)), spread(1, range(nodes)[::-1], (nodes - 1, *ends))


def on_open_path(edges: Sequence[tuple[int, int]], is_open: Any, ends: Sequence[int] = ()) -> Any:
    """Returns how much of each edge's output reaches an end, `float32[E, ...]`.

    The edge itself counts as open. Arguments and meaning are those of `open_paths`.
    """
    from_first, to_last = open_paths(edges, is_open, ends)
    stack = np.stack if isinstance(is_open, np.ndarray) else jnp.stack
    return stack([from_first[source] * to_last[target] for target, source in edges])
