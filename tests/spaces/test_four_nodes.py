"""What cells of four nodes say of themselves to a predictor, by walking their paths."""

import itertools

import jax
import numpy as np

from hwnas_jax.spaces.core import published
from hwnas_jax.spaces.core.four_nodes import EDGES

SPACE = published.nasbench201()
CELLS = SPACE.enumerate()
DESCRIBED = np.asarray(jax.jit(SPACE.describe)(CELLS))


def walked(cell, node=0):
    """Yields the operations of every path from a node to the output that no edge cuts."""
    if node == 3:
        yield ()
        return
    for (target, source), operation in zip(EDGES, cell, strict=True):
        if source == node and operation:
            yield from ((operation, *rest) for rest in walked(cell, target))


def test_the_paths_are_those_of_a_walk():
    sequences = [
        sequence
        for length in (1, 2, 3)
        for sequence in itertools.product(range(1, 5), repeat=length)
    ]
    place = {sequence: number for number, sequence in enumerate(sequences)}
    expected = np.zeros((len(CELLS), len(sequences)), np.float32)
    for row, cell in zip(expected, CELLS.tolist(), strict=True):
        row[[place[sequence] for sequence in walked(cell)]] = 1
    assert DESCRIBED.shape == (5**6, 6 * 5 + 4 + 16 + 64)
    np.testing.assert_array_equal(DESCRIBED[:, 30:], expected)


def test_the_options_are_those_that_reach_the_output():
    expected = np.eye(5)[SPACE.canonical(CELLS)].reshape(len(CELLS), -1)
    np.testing.assert_array_equal(DESCRIBED[:, :30], expected)
