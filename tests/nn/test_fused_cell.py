"""Cells against a plain graph of edges, one operation at a time."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.nn.fused_cell import FusedCells
from hwnas_jax.nn.kernels.mixed_cell import Form
from hwnas_jax.nn.normalisation import moments
from hwnas_jax.nn.platform import platform
from hwnas_jax.relax.base import Gates, one_hot_gates
from tests.helpers import initialise
from tests.nn.numeric import assert_near, draw, lax_conv

FEATURES, BATCH, AXIS = 3, 4, "replica"
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
NONE, SKIP, CONV1, CONV3, POOL = range(5)
FORMS = (
    Form("zero"), Form("identity"), Form("conv", 1), Form("conv", 3),
    Form("avg_pool"),
)  # fmt: skip


def pool(x):
    window = (1, 3, 3, 1)
    total, ones = (
        jax.lax.reduce_window(v, 0.0, jax.lax.add, window, (1, 1, 1, 1), "SAME")
        for v in (x, jnp.ones_like(x))
    )
    return total / ones


def rectify_convolve_normalise(x, kernel):
    value = lax_conv(jnp.maximum(x, 0.0), kernel)
    mean, variance = value.mean((0, 1, 2)), value.var((0, 1, 2))
    return (value - mean) / jnp.sqrt(variance + 1e-5)


def reference(kernels, x, weight, edges=EDGES):
    """Runs every operation of every edge of every cell by itself."""

    def cell(x, own):
        nodes = {0: x}
        for node in range(1, max(target for target, _ in edges) + 1):
            nodes[node] = jnp.zeros_like(x)
            for edge, (target, source) in enumerate(edges):
                if target == node:
                    given, factors = nodes[source], weight[edge]
                    nodes[node] += factors[SKIP] * given + factors[POOL] * pool(given)
                    for column, size in ((CONV1, 1), (CONV3, 3)):
                        value = rectify_convolve_normalise(given, own[size][edge])
                        nodes[node] += factors[column] * value
        return nodes[max(nodes)], None

    return jax.lax.scan(cell, x, kernels)[0]


@functools.cache
def build(count, edges=EDGES, **options):
    """Returns the cells as graph and state; the weights do not depend on the options."""
    return nnx.split(
        initialise(lambda rngs: FusedCells(count, FEATURES, edges, FORMS, rngs, **options))
    )


def kernels_of(state):
    """Returns `[N, E, k, k, C, C]` by `k`."""
    return {leaf.shape[2]: leaf for leaf in jax.tree.leaves(state)}


def inputs(count, size):
    """Returns state, image, gates' weights and a gradient of the output."""
    x, logits, gradient = draw(*[(BATCH, *size, FEATURES), (6, 5), (BATCH, *size, FEATURES)])
    weight = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return build(count)[1], x, jnp.asarray(weight), gradient


def with_gradients(function):
    """Returns `(kernels, x, weight, gradient) -> value and gradients of all three`."""

    def run(kernels, x, weight, gradient):
        value, pull_back = jax.vjp(function, kernels, x, weight)
        return value, *pull_back(gradient)

    return run


def cells(count, **options):
    """Returns `(state, x, weight, index) -> output`."""
    graph, _ = build(count, **options)
    return lambda state, x, weight, index=None: nnx.merge(graph, state)(x, Gates(weight, index))


compiled_reference = jax.jit(with_gradients(lambda s, x, w: reference(kernels_of(s), x, w)))


@functools.cache
def expected(count, size):
    return compiled_reference(*inputs(count, size))


@functools.cache
def compiled(count, **options):
    return jax.jit(with_gradients(cells(count, **options)))


TOLERANCE = 1e-4


@pytest.mark.parametrize("target", ["cpu", "gpu"])
@pytest.mark.parametrize(("count", "size"), [(2, (8, 8)), (1, (5, 7))])
def test_mixed_cells_equal_the_graph(count, size, target):
    with platform(target):
        found = compiled(count)(*inputs(count, size))
    assert_near(found, expected(count, size), TOLERANCE)


@pytest.mark.parametrize("count", [1, 2])
def test_gradients_where_the_gates_want_none(count):
    """As in a weight step, which keeps other arrays."""
    state, x, weight, gradient = inputs(count, (5, 7))
    fixed = lambda state, x: cells(count)(state, x, weight)  # noqa: E731
    value, pull_back = jax.vjp(jax.jit(fixed), state, x)
    assert_near((value, *pull_back(gradient)), expected(count, (5, 7))[:3], TOLERANCE)


def test_edges_in_any_order():
    edges = ((3, 1), (1, 0), (3, 2), (2, 1), (3, 0))
    graph, state = build(2, edges)
    _, x, weight, gradient = inputs(2, (5, 7))
    plain = with_gradients(lambda s, x, w: reference(kernels_of(s), x, w, edges))
    found = with_gradients(lambda s, x, w: nnx.merge(graph, s)(x, Gates(w)))
    given = state, x, weight[:5], gradient
    assert_near(jax.jit(found)(*given), jax.jit(plain)(*given), TOLERANCE)


def test_forms_of_the_platforms_differ():
    """Or comparing them would show nothing."""
    texts = set()
    for target in ("cpu", "gpu"):
        with platform(target):
            texts.add(str(jax.make_jaxpr(cells(1))(*inputs(1, (8, 8))[:3])))
    assert len(texts) == 2


def test_running_the_forward_again_changes_nothing_and_keeps_less():
    found = compiled(1, rematerialise=True)(*inputs(1, (5, 7)))
    assert_near(found, expected(1, (5, 7)), TOLERANCE)
    for count in (1, 2):
        assert kept(count, rematerialise=True) == count * FEATURES


def kept(count, size=(8, 8), **options):
    """Returns how many channels of the image's size the backward pass needs."""
    pull_back = jax.eval_shape(
        lambda *v: jax.vjp(cells(count, **options), *v)[1], *inputs(count, size)[:3]
    )
    shapes = [leaf.shape for leaf in jax.tree.leaves(pull_back)]
    area = BATCH * size[0] * size[1]
    return sum(np.prod(s) // area for s in shapes if (BATCH, *size) in (s[:3], s[1:4]))


def test_convolutions_and_their_inputs_alone_are_kept():
    assert kept(1) <= (len(EDGES) + 3) * FEATURES
    assert kept(2) <= 2 * (len(EDGES) + 3) * FEATURES


ARCHITECTURES = ([3, 2, 4, 1, 3, 2], [1, 0, 3, 2, 0, 4], [0, 0, 0, 0, 0, 0])


@pytest.fixture(scope="module")
def sampled():
    return jax.jit(
        lambda state, x, weight, gradient, index: with_gradients(
            lambda *v: cells(2)(*v, index)
        )(state, x, weight, gradient)
    )  # fmt: skip


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_drawn_operations_equal_the_graph(sampled, architecture):
    """With factors other than one too: each is read at the index, and there alone."""
    state, x, soft, gradient = inputs(2, (8, 8))
    index = np.array(architecture, np.int32)
    hard = np.eye(5, dtype=np.float32)[index]
    for weight in (hard, soft):
        value, *gradients = compiled_reference(state, x, weight * hard, gradient)
        gradients[2] = gradients[2] * hard
        assert_near(
            sampled(state, x, weight, gradient, index), (value, *gradients), TOLERANCE
        )  # fmt: skip


def test_index_gates_equal_one_hot_gates(sampled):
    state, x, _, gradient = inputs(2, (8, 8))
    drawn = one_hot_gates(jnp.array(ARCHITECTURES[0]), 5, sampled=True)
    value, *gradients = compiled(2)(state, x, drawn.weight, gradient)
    gradients[2] = gradients[2] * drawn.weight
    found = sampled(state, x, drawn.weight, gradient, drawn.index)
    assert_near(found, (value, *gradients), TOLERANCE)


@pytest.mark.parametrize("index", [None, [3, 2, 4, 1, 3, 2]])
def test_bfloat16_images(index):
    state, x, weight, _ = inputs(2, (8, 8))
    index = None if index is None else np.array(index, np.int32)
    hard = weight if index is None else weight * np.eye(5, dtype=np.float32)[index]
    run = lambda x: cells(2)(state, x, weight, index)  # noqa: E731
    x = jnp.asarray(x, jnp.bfloat16)
    value = jax.jit(run)(x)
    assert value.dtype == jnp.bfloat16
    exact = compiled_reference(state, x.astype(jnp.float32), hard, inputs(2, (8, 8))[3])[0]
    assert_near(value, exact, 0.04)
    roots = re.findall(r":(\w+)\[[\d,]*\] = rsqrt", str(jax.make_jaxpr(run)(x)))
    assert roots and set(roots) == {"f32"}


def test_moments_of_bfloat16_are_exact():
    """Sums of 2**14 values, which bfloat16 could not hold."""
    (x,) = draw((4, 64, 64, 2))
    x = jnp.asarray(1.0 + 0.1 * x, jnp.bfloat16)
    mean, square = moments(x)
    assert mean.dtype == square.dtype == jnp.float32
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(square, (exact**2).mean((0, 1, 2)), rtol=1e-6)


def whole_from_replicas(count, size, index=None):
    """Returns value and gradients of `cells` on two replicas that share their statistics."""
    state, x, weight, gradient = inputs(count, size)
    halves = [v.reshape(2, BATCH // 2, *v.shape[1:]) for v in (x, gradient)]
    run = jax.pmap(
        with_gradients(lambda s, x, w: cells(count, axis_name=AXIS)(s, x, w, index)),
        axis_name=AXIS, in_axes=(None, 0, None, 0), devices=jax.devices()[:2],
    )  # fmt: skip
    value, own, image, gates = run(state, halves[0], weight, halves[1])
    total = jax.tree.map(lambda leaf: leaf.sum(0), (own, gates))
    return value.reshape(x.shape), total[0], image.reshape(x.shape), total[1]


def test_replicas_share_statistics():
    assert_near(whole_from_replicas(1, (5, 7)), expected(1, (5, 7)), TOLERANCE)


def test_replicas_share_statistics_of_drawn_operations():
    state, x, weight, gradient = inputs(1, (5, 7))
    index = np.array(ARCHITECTURES[0], np.int32)
    hard = np.eye(5, dtype=np.float32)[index]
    value, *gradients = compiled_reference(state, x, weight * hard, gradient)
    gradients[2] = gradients[2] * hard
    assert_near(whole_from_replicas(1, (5, 7), index), (value, *gradients), TOLERANCE)


def test_second_derivatives_equal_those_of_the_graph():
    """Of `<d, gradient in the kernels>` in the gates, as second-order search needs them."""
    edges = ((1, 0), (1, 0))
    graph, state = build(1, edges)
    _, x, weight, _ = inputs(1, (4, 4))
    direction = jax.tree.map(lambda v: draw(v.shape, seed=1)[0], state)

    def through(function):
        def inner(weight, x):
            gradient = jax.grad(lambda s: jnp.sin(function(s, x, weight)).sum())(state)
            pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
            return sum(jnp.vdot(*pair) for pair in pairs)

        return jax.jit(jax.grad(inner, (0, 1)))(weight[:2], x)

    plain = through(lambda s, x, w: reference(kernels_of(s), x, w, edges))
    found = through(lambda s, x, w: nnx.merge(graph, s)(x, Gates(w)))
    assert_near(found, plain, 1e-3)


def test_gates_of_another_shape_are_refused():
    state, x, weight, _ = inputs(1, (4, 4))
    with pytest.raises(AssertionError):
        cells(1)(state, x, weight[:5])
