"""One drawn operation against `switch`, mixed kernels against mixed outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.nn.convolution import avg_pool_3x3, conv2d
from hwnas_jax.nn.mixed import mixed_weight_conv, run_one
from tests.nn.numeric import assert_near, draw, lax_conv

WIDE = 32
BRANCHES = (
    lambda x, own, factor: jnp.zeros_like(x),
    lambda x, own, factor: factor * x,
    lambda x, own, factor: factor * conv2d(jax.nn.relu(x), own["kernel"]),
    lambda x, own, factor: factor * avg_pool_3x3(x) * own["scale"],
    lambda x, own, factor: factor * jnp.sin(jnp.tanh(x @ own["wide"]) @ own["wide"].T),
)


def run_switch(index, branches, *operands):
    return jax.lax.switch(index, branches, *operands)


def operands():
    x, kernel, wide, scale, factor = draw((2, 4, 8, 3), (3, 3, 3, 3), (3, WIDE), (3,), ())
    return x, {"kernel": kernel, "wide": wide, "scale": scale}, factor


def test_one_branch_equals_switch_in_value_and_gradient():
    def through(run):
        @jax.jit
        def value_and_gradients(index, gradient, *operands):
            value, pull_back = jax.vjp(lambda *o: run(index, BRANCHES, *o), *operands)
            return value, pull_back(gradient)

        return value_and_gradients

    own, theirs = through(run_one), through(run_switch)
    (gradient,) = draw((2, 4, 8, 3), seed=1)
    for index in range(len(BRANCHES)):
        expected = theirs(index, gradient, *operands())
        assert_near(own(index, gradient, *operands()), expected, 1e-6)
    # The reference is not zero throughout, and the index is followed.
    assert abs(expected[0]).max() > 0.1


def test_branches_inside_scan():
    def through(run):
        def chain(x, own, factor, indices):
            step = lambda x, index: (jnp.tanh(run(index, BRANCHES, x, own, factor)), None)  # noqa: E731
            return jax.lax.scan(step, x, indices)[0].sum()

        return jax.jit(jax.value_and_grad(chain, (0, 1, 2)))

    indices = np.array([4, 2, 3, 1, 2])
    found = through(run_one)(*operands(), indices)
    assert_near(found, through(run_switch)(*operands(), indices), 1e-5)


def test_second_derivatives_of_a_branch():
    def through(run):
        def penalty(x, own, factor, index):
            inner = jax.grad(lambda x: jnp.sin(run(index, BRANCHES[3:], x, own, factor)).sum())
            return (inner(x) ** 2).sum()

        return jax.jit(jax.grad(penalty, (1, 2)))

    own, theirs = through(run_one), through(run_switch)
    for index in (0, 1):
        assert_near(own(*operands(), index), theirs(*operands(), index), 1e-5)


def residuals(run):
    """Returns the shapes that a compiled forward pass keeps for its backward pass."""
    forward = jax.jit(lambda index, *o: run(index, BRANCHES, *o))
    kept = jax.eval_shape(
        lambda index, *o: jax.vjp(lambda *v: forward(index, *v), *o)[1], 0, *operands()
    )
    return sorted(leaf.shape for leaf in jax.tree.leaves(kept))


def test_only_operands_are_kept():
    given = [(), *(leaf.shape for leaf in jax.tree.leaves(operands()))]
    assert residuals(run_one) == sorted(given)
    # Where every branch's needs are kept, the wide branch shows.
    assert any(shape[-1:] == (WIDE,) and len(shape) == 4 for shape in residuals(run_switch))


def test_integers_among_the_operands():
    branches = (lambda x, n: x * n, lambda x, n: x**2 + n)
    gradient = jax.jit(jax.grad(lambda x, n, i: run_one(i, branches, x, n)))
    assert [float(gradient(3.0, 5, i)) for i in (0, 1)] == [5.0, 6.0]


def test_an_index_of_many_is_refused():
    with pytest.raises(AssertionError):
        run_one(jnp.array([0, 1]), BRANCHES, *operands())


@pytest.mark.parametrize(
    ("sizes", "dilations", "stride", "image"),
    [
        ((1, 3, 5), None, 1, (8, 8)), ((1, 3, 5), None, 2, (7, 9)),
        ((1, 3, 5), (1, 2, 1), 1, (6, 7)), ((3, 3, 5), (1, 2, 2), 2, (7, 8)),
        ((1, 3), (2, 1), 1, (5, 8)),
    ],
)  # fmt: skip
def test_mixed_kernels_equal_mixed_convolutions(sizes, dilations, stride, image):
    x, *kernels = draw((2, *image, 3), *[(k, k, 3, 4) for k in sizes])
    weight = np.linspace(0.2, 0.9, len(sizes), dtype=np.float32)
    out = tuple(-(-length // stride) for length in image)
    (gradient,) = draw((2, *out, 4), seed=1)

    def mixed(x, kernels, weight):
        return mixed_weight_conv(x, kernels, weight, dilations=dilations, stride=stride)

    def separate(x, kernels, weight):
        spacing = dilations or (1,) * len(kernels)
        each = zip(weight, kernels, spacing, strict=True)
        return sum(w * lax_conv(x, k, stride, d) for w, k, d in each)

    def value_and_gradients(function):
        value, pull_back = jax.vjp(function, x, kernels, weight)
        return value, pull_back(gradient)

    found = jax.jit(lambda: value_and_gradients(mixed))()
    assert found[0].shape == (2, *out, 4)
    assert_near(found, jax.jit(lambda: value_and_gradients(separate))(), 1e-5)


def test_mixed_kernels_keep_the_type_of_the_image():
    x, kernel = jnp.ones((1, 4, 4, 2), jnp.bfloat16), jnp.ones((3, 3, 2, 2))
    assert mixed_weight_conv(x, [kernel], jnp.ones(1)).dtype == jnp.bfloat16
