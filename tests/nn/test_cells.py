"""The hand-written forms of cells against the general one, and which of them is chosen."""

import functools
import itertools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.binary_cell import BinaryCells, binary_conv, float_conv, projected_conv
from hwnas_jax.nn.cell_operations import (
    AVG_POOL_3X3,
    NONE,
    SKIP_CONNECT,
    CellOperation,
    relu_conv_norm,
)
from hwnas_jax.nn.cells import FixedCell, mixed_cells
from hwnas_jax.nn.fused_cell import FusedCells
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.mixed_path import MixedCells
from hwnas_jax.nn.normalisation import network_norm
from hwnas_jax.nn.platform import platform
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces import SPACES
from tests.helpers import initialise
from tests.nn.numeric import assert_near, draw

EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
FEATURES, BATCH, SIZE = 3, 3, (5, 6)
COMMON = (NONE, SKIP_CONNECT)
# The operations, the class that is chosen for them, and how many cells are compared.
KINDS = {
    "nasbench201": ((*COMMON, relu_conv_norm(1), relu_conv_norm(3), AVG_POOL_3X3), FusedCells, 2),
    "transnas_cell": ((*COMMON, relu_conv_norm(1), relu_conv_norm(3)), FusedCells, 1),
    "bnas": ((*COMMON, binary_conv(3), binary_conv(5), AVG_POOL_3X3), BinaryCells, 2),
    "projected bnas": ((*COMMON, projected_conv(3), AVG_POOL_3X3), BinaryCells, 1),
    "bnas at full precision": ((*COMMON, float_conv(3), AVG_POOL_3X3), BinaryCells, 1),
}  # fmt: skip


def filled(state, fused, count):
    """Returns the state of general cells with the weights of `fused`, operation by operation."""
    rows = {"entering": (0, 1, 3), "inner": (2, 4, 5)}

    def leaf(path, _):
        _, kind, _, option, *names = [key.key for key in path if hasattr(key, "key")]
        found = []
        for cell, edge in itertools.product(range(count), rows[kind]):
            weights = nnx.to_pure_dict(fused.weights_of(cell, edge, option))
            found.append(functools.reduce(operator.getitem, names, weights))
        stacked = jnp.stack(found).reshape(count, len(rows[kind]), *found[0].shape)
        return stacked if count > 1 else stacked[0]

    return jax.tree_util.tree_map_with_path(leaf, state)


@pytest.mark.parametrize("name", KINDS)
def test_fused_cells_equal_the_general_ones(name):
    """In value and in the gradients of weights, images and gates, mixed and drawn."""
    operations, kind, count = KINDS[name]
    build = lambda rngs: mixed_cells(count, FEATURES, EDGES, operations, rngs)  # noqa: E731
    fused = initialise(build)
    assert type(fused) is kind
    graph, weights = nnx.split(fused)
    general = abstract(lambda rngs: MixedCells(count, FEATURES, EDGES, operations, rngs))
    general_graph, like = nnx.split(general)
    shape = (BATCH, *SIZE, FEATURES)
    x, soft, direction = draw(shape, (6, len(operations)), shape)

    def run_fused(weights, x, weight, index=None):
        return nnx.merge(graph, weights)(x, Gates(weight, index))

    def run_general(weights, x, weight, index=None):
        state = filled(like, nnx.merge(graph, weights), count)
        return nnx.merge(general_graph, state)(x, Gates(weight, index))

    index = np.array([3, 2, len(operations) - 1, 1, 0, 2], np.int32)
    for drawn in ((), (index,)):

        def both(run, drawn=drawn):
            value, pull_back = jax.vjp(lambda *v: run(*v, *drawn), weights, x, soft)
            return value, pull_back(direction)

        with platform("gpu"):  # plain convolutions, which compile faster
            expected = jax.jit(lambda: both(run_general))()
        assert_near(jax.jit(lambda: both(run_fused))(), expected, 1e-4)


def with_new_operation(inputs, outputs, stride, norm, rngs):
    return ops.ReLUConvNorm(inputs, outputs, 5, norm, rngs, stride)


NEW = CellOperation("mine", with_new_operation)


@pytest.mark.parametrize(
    ("operations", "kind"),
    [
        ((*COMMON, relu_conv_norm(5)), FusedCells),
        ((*COMMON, NEW), MixedCells),
        ((*COMMON, relu_conv_norm(3), binary_conv(3)), MixedCells),
        (COMMON, MixedCells),
    ],
)
def test_a_form_is_chosen_that_knows_every_operation(operations, kind):
    build = lambda rngs: mixed_cells(1, 2, EDGES, operations, rngs)  # noqa: E731
    assert type(abstract(build)) is kind


@pytest.mark.parametrize("name", ["nasbench201", "bnas", "transnas_cell"])
def test_published_cells_are_fused(name):
    space = SPACES[name](input_shape=(32, 32, 3), num_outputs=3)
    supernet = abstract(space.supernet)
    parts = supernet.stages if name != "transnas_cell" else supernet.cells[1::2]
    assert all(isinstance(part, FusedCells | BinaryCells) for part in parts)


def test_a_general_cell_may_change_the_shape_and_has_edges_in_any_order():
    """Against the fixed cell of each architecture, whose sum of edges is plain Python."""
    edges = ((3, 1), (1, 0), (3, 2), (2, 1), (3, 0))
    operations = KINDS["transnas_cell"][0]
    shape = {"features_in": 2, "stride": 2}
    cells = initialise(lambda rngs: MixedCells(1, 4, edges, operations, rngs, **shape))
    run = jax.jit(lambda x, weight, index: cells(x, Gates(weight, index)))
    (x,) = draw((BATCH, 5, 6, 2))
    for chosen in ([3, 1, 2, 1, 3], [1, 3, 3, 2, 1], [0, 2, 1, 3, 0]):
        fixed = FixedCell(
            [operations[option] for option in chosen], edges, [True] * 5, 4, network_norm(),
            nnx.Rngs(0), **shape,
        )  # fmt: skip
        for edge, option in enumerate(chosen):
            nnx.update(fixed.edges[edge], cells.weights_of(0, edge, option))
        fixed.train()
        weight = jnp.eye(4)[jnp.array(chosen)]
        found = cells(x, Gates(weight)), run(x, weight, jnp.array(chosen))
        assert found[0].shape == (BATCH, 3, 3, 4)
        assert_near(found, (fixed(x), fixed(x)), 1e-4)
    with pytest.raises(ValueError, match="single cell"):
        MixedCells(2, 4, edges, operations, nnx.Rngs(0), **shape)


def test_gates_of_another_shape_are_refused():
    cells = abstract(lambda rngs: MixedCells(1, 2, EDGES, COMMON, rngs))
    with pytest.raises(AssertionError):
        cells(jnp.ones((1, 4, 4, 2)), Gates(jnp.ones((5, 2))))


def test_a_cell_that_cuts_its_inputs_takes_batches_of_any_size():
    """Exported programs leave the number of examples open."""
    from jax import export

    cut = FixedCell(
        [NONE] * 6, [(n, s) for n in range(1, 4) for s in range(n)], [True] * 6, 3,
        network_norm(), nnx.Rngs(0),
    )  # fmt: skip
    graph, state = nnx.split(cut)
    sizes = export.symbolic_shape("b, 4, 4, 3")
    traced = export.export(jax.jit(lambda x: nnx.merge(graph, state)(jnp.abs(x))))(
        jax.ShapeDtypeStruct(sizes, jnp.float32)
    )
    for count in (1, 5):
        np.testing.assert_array_equal(traced.call(jnp.ones((count, 4, 4, 3))), 0)
