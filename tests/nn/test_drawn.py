"""Drawn operations against calls one by one."""

import jax
import jax.numpy as jnp
import pytest

from hwnas_jax.nn.drawn import run_drawn
from hwnas_jax.nn.kernels.convolution import avg_pool_3x3, conv2d
from hwnas_jax.nn.platform import platform
from tests.nn.numeric import assert_near, draw

WIDE = 32
BRANCHES = (
    lambda x, own, factor: jnp.zeros_like(x),
    lambda x, own, factor: factor * x,
    lambda x, own, factor: factor * conv2d(jax.nn.relu(x), own["kernel"]),
    lambda x, own, factor: factor * avg_pool_3x3(x) * own["scale"],
    lambda x, own, factor: factor * jnp.sin(jnp.tanh(x @ own["wide"]) @ own["wide"].T),
)


EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
INDICES = (
    (4, 2, 3, 1, 2, 0), (2, 2, 2, 2, 2, 2), (1, 0, 4, 3, 3, 2),
    (0, 4, 2, 2, 3, 0), (0, 0, 2, 3, 2, 4),
)  # fmt: skip


def operands():
    x, kernel, wide, scale, factor = draw(
        (2, 4, 8, 3), (6, 3, 3, 3, 3), (6, 3, WIDE), (6, 3), (6,)
    )  # fmt: skip
    return x, ({"kernel": 0.3 * kernel, "wide": 0.3 * wide, "scale": scale}, factor)


def drawn(x, index, operands):
    operands = jax.tree.map(lambda leaf: leaf[None], operands)
    return run_drawn(x, index, operands, branches=BRANCHES, edges=EDGES, cut=0)


def one_by_one(x, index, operands):
    """The drawn operations called in Python, edge after edge."""
    nodes = [x] + [jnp.zeros_like(x)] * 3
    for edge, (target, source) in enumerate(EDGES):
        own = jax.tree.map(lambda leaf, edge=edge: leaf[edge], operands)
        nodes[target] = nodes[target] + BRANCHES[index[edge]](nodes[source], *own)
    return nodes[-1]


def through(run, index):
    """Returns the value and the gradients of all operands."""
    (gradient,) = draw((2, 4, 8, 3), seed=1)
    value, pull_back = jax.vjp(lambda x, o: run(x, index, o), *operands())
    return value, pull_back(gradient)


@pytest.mark.parametrize("target", ["cpu", "gpu"])
@pytest.mark.parametrize("index", INDICES)
def test_drawn_operations_equal_calls_one_by_one(index, target):
    with platform(target):
        found = jax.jit(lambda index: through(drawn, index))(jnp.array(index))
    expected = through(one_by_one, index)
    assert abs(expected[0]).max() > 0.1
    assert_near(found, expected, 1e-5)


def test_graphs_in_sequence_with_edges_in_any_order():
    mixed_up = (4, 0, 5, 2, 1, 3)
    rows = jnp.array(mixed_up)
    edges, index = [EDGES[e] for e in mixed_up], jnp.array([INDICES[0][e] for e in mixed_up])

    def both(x, index, operands):
        pair = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]])[:, rows], operands)
        return run_drawn(x, index, pair, branches=BRANCHES, edges=edges, cut=0)

    def one_after_the_other(x, index, operands):
        x = one_by_one(x, index, operands)
        return one_by_one(x, index, jax.tree.map(lambda leaf: leaf[::-1], operands))

    found = jax.jit(lambda index: through(both, index))(index)
    assert_near(found, through(one_after_the_other, INDICES[0]), 1e-5)


def test_operands_that_are_not_differentiated_cost_no_gradient():
    x, (own, factor) = operands()
    index = jnp.array(INDICES[1])

    def of_factor(factor):
        return jax.grad(lambda f: drawn(x, index, (own, f)).sum())(factor)

    def of_all(factor):
        return jax.grad(lambda o: drawn(x, index, o).sum())((own, factor))[1]

    few, many = (jax.jit(f).lower(factor).cost_analysis()["flops"] for f in (of_factor, of_all))
    taps_inside = (3 * 4 - 2) * (3 * 8 - 2)
    products = 2 * 2 * (taps_inside * 3 * 3 + 4 * 8 * 2 * 3 * WIDE)
    assert few <= many - products
    expected = jax.grad(lambda f: one_by_one(x, INDICES[1], (own, f)).sum())(factor)
    assert_near(of_factor(factor), expected, 1e-5)


def test_inside_scan_and_twice_differentiated():
    def penalty(run, index):
        def loss(x, operands):
            step = lambda x, _: (jnp.tanh(run(x, index, operands)), None)  # noqa: E731
            return jax.lax.scan(step, x, length=2)[0].sum()

        def norm(x, operands):
            return (jax.grad(loss)(x, operands) ** 2).sum()

        return jax.grad(norm, (0, 1))(*operands())

    found = jax.jit(lambda index: penalty(drawn, index))(jnp.array(INDICES[2]))
    assert_near(found, jax.jit(lambda: penalty(one_by_one, INDICES[2]))(), 1e-4)


def kept(run):
    """Returns the shapes that a compiled forward pass keeps for its backward pass."""
    forward = jax.jit(run)
    pull_back = jax.eval_shape(
        lambda x, index, o: jax.vjp(lambda x, o: forward(x, index, o), x, o)[1],
        operands()[0], jnp.zeros(6, jnp.int32), operands()[1],
    )  # fmt: skip
    return sorted(leaf.shape for leaf in jax.tree.leaves(pull_back))


def test_nodes_and_operands_alone_are_kept():
    given = [(6,), (6,), (4, 2, 4, 8, 3), *(leaf.shape for leaf in jax.tree.leaves(operands()[1]))]
    assert kept(drawn) == sorted(given)


def test_every_edge_needs_an_index():
    with pytest.raises(AssertionError):
        drawn(operands()[0], jnp.zeros(5, jnp.int32), operands()[1])
