"""Norms of arrays of weights against loops over the layers that are stacked."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn.fused_cell import FORMS, FusedCells
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.layerwise import stacked
from hwnas_jax.nn.weight_norms import norms_by_layer


class Plain(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(2, 3, rngs=rngs)


class Outer(nnx.Module):
    def __init__(self, rngs):
        self.inner = stacked(Plain, 4, rngs)
        self.own = nnx.Param(jnp.ones((2, 2)))


def drawn(module):
    """Returns the module's parameters, drawn anew, and the norms of them."""
    rng = np.random.default_rng(0)
    shapes = nnx.state(module, nnx.Param)
    state = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    return state, np.sort(jax.jit(norms_by_layer(module))(state))


def sorted_norms(arrays):
    return np.sort([np.linalg.norm(np.asarray(array)) for array in arrays])


def test_stacks_in_stacks():
    state, found = drawn(abstract(lambda rngs: stacked(Outer, 3, rngs)))
    linear = state["inner"]["linear"]
    arrays = [linear[name][...][i, j] for name in linear for i in range(3) for j in range(4)]
    arrays += list(state["own"][...])
    assert len(found) == 2 * 12 + 3
    np.testing.assert_allclose(found, sorted_norms(arrays), rtol=1e-5)


def test_kernels_of_fused_cells():
    edges = ((1, 0), (2, 0), (2, 1))
    forms = list(FORMS.values())
    state, found = drawn(abstract(lambda rngs: FusedCells(2, 4, edges, forms, rngs)))
    kernels = [state["kernels"][size][...] for size in state["kernels"]]
    arrays = [kernel[cell, edge] for kernel in kernels for cell in range(2) for edge in range(3)]
    assert len(found) == 4 * 2 * 3
    np.testing.assert_allclose(found, sorted_norms(arrays), rtol=1e-5)
