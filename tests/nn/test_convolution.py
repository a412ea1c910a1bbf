"""Fast forms against lax.conv and numpy, value and gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.nn.kernels.convolution import avg_pool_2x2, avg_pool_3x3, conv2d, matmul
from hwnas_jax.nn.platform import platform
from tests.nn.numeric import assert_near, draw, lax_conv


def value_and_gradients(function, dtype=jnp.float32):
    """Returns what computes value and both gradients of `function`, all in `dtype`."""

    @jax.jit
    def run(x, kernel, gradient):
        value, pull_back = jax.vjp(function, *(v.astype(dtype) for v in (x, kernel)))
        return value, *pull_back(gradient.astype(dtype))

    return run


CASES = [
    ((8, 8), 1, 1, 1), ((7, 9), 1, 2, 1),
    # Rows of three taps: whole tiles, padded tiles, and widths too far from whole tiles, narrower
    # than those whose gradients are taken by tiles and not.
    ((3, 4), 3, 1, 1), ((5, 5), 3, 1, 1), ((6, 7), 3, 1, 1), ((1, 8), 3, 1, 1),
    ((5, 10), 3, 1, 1), ((4, 16), 3, 1, 1), ((3, 18), 3, 1, 1), ((2, 3), 3, 1, 1),
    ((8, 8), 3, 2, 1), ((7, 9), 3, 2, 1), ((5, 4), 3, 1, 2), ((7, 9), 3, 2, 2),
    ((7, 8), 5, 2, 1), ((6, 8), 5, 1, 2),
]  # fmt: skip


@pytest.mark.parametrize(("size", "kernel_size", "stride", "dilation"), CASES)
def test_convolution_equals_lax(size, kernel_size, stride, dilation):
    out = tuple(-(-length // stride) for length in size)
    inputs = draw((2, *size, 3), (kernel_size, kernel_size, 3, 4), (2, *out, 4))
    ours = functools.partial(conv2d, stride=stride, dilation=dilation)
    expected = value_and_gradients(lambda a, b: lax_conv(a, b, stride, dilation))(*inputs)
    assert_near(value_and_gradients(ours)(*inputs), expected, 2e-5)
    # Its form may differ where nothing is differentiated.
    assert_near(jax.jit(ours)(*inputs[:2]), expected[0], 2e-5)


@pytest.mark.parametrize("width", [8, 16])
def test_gradients_can_be_differentiated(width):
    inputs = draw((2, 3, width, 3), (3, 3, 3, 4), (2, 3, width, 4))

    def slope(convolve):
        def inner(x, kernel, gradient):
            return jnp.vdot(jnp.tanh(convolve(x, kernel)), gradient)

        def outer(*inputs):
            return sum(jnp.sum(g**2) for g in jax.grad(inner, (0, 1))(*inputs))

        return jax.jit(jax.grad(outer, (0, 1, 2)))

    assert_near(slope(conv2d)(*inputs), slope(lax_conv)(*inputs), 5e-5)


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "dilation"),
    [((8, 8), 1, 1, 1), ((5, 8), 3, 1, 1), ((7, 9), 3, 2, 1), ((5, 7), 3, 1, 2)],
)
def test_convolution_in_bfloat16(size, kernel_size, stride, dilation):
    """Against float32 on the same rounded inputs: only the rounding of results may differ."""
    out = tuple(-(-length // stride) for length in size)
    shapes = (2, *size, 3), (kernel_size, kernel_size, 3, 4), (2, *out, 4)
    inputs = [np.asarray(jnp.bfloat16(v), np.float32) for v in draw(*shapes)]
    found = value_and_gradients(
        lambda a, b: conv2d(a, b, stride=stride, dilation=dilation), jnp.bfloat16
    )(*inputs)
    assert {leaf.dtype for leaf in found} == {jnp.dtype(jnp.bfloat16)}
    expected = value_and_gradients(lambda a, b: lax_conv(a, b, stride, dilation))(*inputs)
    assert_near(found, expected, 2**-7)


def uses_lax(width, *, size=3, dtype=jnp.float32, **options):
    """Returns whether a convolution of rows of `width` is `lax`'s, not products of tiles."""
    shapes = (
        jax.ShapeDtypeStruct((1, 5, width, 2), dtype),
        jax.ShapeDtypeStruct((size, size, 2, 2), dtype),
    )
    text = str(jax.make_jaxpr(lambda a, b: conv2d(a, b, **options))(*shapes))
    assert ("conv_general_dilated" in text) != ("dot_general" in text)
    return "conv_general_dilated" in text


def test_tiles_are_used_where_padding_costs_little():
    assert [w for w in range(1, 17) if uses_lax(w)] == [1, 2, 3, 5, 6, 9]
    assert uses_lax(8, dtype=jnp.bfloat16)
    assert uses_lax(8, dilation=2)
    assert uses_lax(8, stride=2)
    assert uses_lax(8, size=5)


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"dilation": 2}])
def test_on_a_gpu_lax_stays(options):
    x, kernel = jnp.ones((1, 8, 8, 2)), jnp.ones((3, 3, 2, 2))

    def trace():
        return str(jax.make_jaxpr(lambda a, b: conv2d(a, b, **options))(x, kernel))

    with platform("gpu"):
        text = trace()
    assert text.count("conv_general_dilated[") == 1
    assert "custom_vjp" not in text
    assert "custom_vjp" in trace()


@pytest.mark.parametrize("width", [8, 7, 5])
def test_convolutions_inside_scan_and_switch(width):
    """Alternates two widths of kernel over a carried image; gradients reach every kernel."""

    def through(convolve):
        def run(x, kernels):
            def step(carry, own):
                index, kernel = own
                branches = (lambda: convolve(carry, kernel[1:4, 1:4]),
                            lambda: convolve(carry, kernel))  # fmt: skip
                return jnp.tanh(jax.lax.switch(index, branches)), None

            return jax.lax.scan(step, x, (jnp.array([0, 1, 0]), kernels))[0]

        return value_and_gradients(run)

    x, kernels, gradient = draw((2, 5, width, 3), (3, 5, 5, 3, 3), (2, 5, width, 3))
    found = through(conv2d)(x, 0.2 * kernels, gradient)
    expected = through(lax_conv)(x, 0.2 * kernels, gradient)
    assert_near(found, expected, 5e-5)


@pytest.mark.parametrize("options", [{}, {"dilation": 2}, {"stride": 2}])
def test_second_derivatives_equal_lax(options):
    """Differentiates `<d, gradient>` once more, as an unrolled step of a search does."""
    x, kernel = draw((2, 5, 8, 2), (3, 3, 2, 3))
    directions = draw(x.shape, kernel.shape, seed=1)

    def twice(convolve):
        def inner(x, kernel):
            gradients = jax.grad(lambda *v: jnp.sin(convolve(*v)).sum(), (0, 1))(x, kernel)
            return sum(jnp.vdot(*pair) for pair in zip(gradients, directions, strict=True))

        return jax.jit(jax.grad(inner, (0, 1)))(x, kernel)

    expected = twice(lambda a, b: lax_conv(a, b, **options))
    assert_near(twice(lambda a, b: conv2d(a, b, **options)), expected, 5e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_product_equals_numpy(dtype):
    x, kernel, gradient = (np.asarray(jnp.asarray(v, dtype), np.float32)
                           for v in draw((2, 3, 5, 4), (4, 6), (2, 3, 5, 6)))  # fmt: skip
    found = value_and_gradients(matmul, dtype)(x, kernel, gradient)
    assert {leaf.dtype for leaf in found} == {jnp.dtype(dtype)}
    kernel_gradient = np.einsum("bhwi,bhwo->io", x, gradient)
    expected = x @ kernel, gradient @ kernel.T, kernel_gradient
    assert_near(found, expected, 1e-6 if dtype == jnp.float32 else 2**-7)


def windows(x):
    _, height, width, _ = x.shape
    out = np.zeros_like(x)
    for i in range(height):
        for j in range(width):
            rows = slice(max(0, i - 1), i + 2)
            out[:, i, j] = x[:, rows, max(0, j - 1) : j + 2].mean((1, 2))
    return out


@pytest.mark.parametrize("size", [(6, 6), (5, 7), (2, 2), (1, 3)])
def test_average_of_neighbourhoods(size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    np.testing.assert_allclose(avg_pool_3x3(jnp.asarray(x)), windows(x), rtol=1e-5, atol=1e-6)


def test_average_of_neighbourhoods_gradient_is_the_transpose():
    rng = np.random.default_rng(1)
    x, g = (rng.normal(size=(1, 5, 4, 2)).astype(np.float32) for _ in range(2))
    _, pull_back = jax.vjp(avg_pool_3x3, jnp.asarray(x))
    np.testing.assert_allclose((pull_back(g)[0] * x).sum(), (windows(x) * g).sum(), rtol=1e-4)


def test_halving_a_sequence_is_along_its_length():
    x = np.random.default_rng(0).normal(size=(2, 1, 7, 3)).astype(np.float32)
    longer = np.concatenate([x, x[:, :, -1:]], axis=2)
    expected = (longer[:, :, ::2] + longer[:, :, 1::2]) / 2
    np.testing.assert_allclose(avg_pool_2x2(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "halved"), [(4, 2), (7, 4)])
def test_halving(size, halved):
    x = np.random.default_rng(0).normal(size=(1, size, size, 1)).astype(np.float32)
    found = np.asarray(avg_pool_2x2(jnp.asarray(x)))
    assert found.shape == (1, halved, halved, 1)
    expected = [[x[0, i : i + 2, j : j + 2].mean() for j in range(0, size, 2)]
                for i in range(0, size, 2)]  # fmt: skip
    np.testing.assert_allclose(found[0, :, :, 0], expected, rtol=1e-5)


def test_wrong_shapes_are_refused():
    with pytest.raises(AssertionError):
        conv2d(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 2, 4)))
